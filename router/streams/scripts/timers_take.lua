-- Take conversations whose floor must be looked at now; others take them after the lease.
-- KEYS: the partition's timers.   ARGV: now in ms, limit, lease in ms.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, name in ipairs(found) do
  redis.call('ZADD', KEYS[1], tonumber(ARGV[1]) + tonumber(ARGV[3]), name)
end
return found
