-- Take conversations whose floor must be looked at now; others take them after the lease.
-- Returns them, and when the next one is due ('' if none is).
-- KEYS: the partition's timers.   ARGV: now in ms, limit, lease in ms.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, name in ipairs(found) do
  redis.call('ZADD', KEYS[1], tonumber(ARGV[1]) + tonumber(ARGV[3]), name)
end
return { found, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '' }
