-- Take the next call of a budget that is spread evenly.
-- KEYS: when the next call may be made (ms). ARGV: now, ms between two calls.
-- Returns 0 if it may be made now, which is noted, else the ms to wait.
local free = tonumber(redis.call('GET', KEYS[1]) or '0')
local now = tonumber(ARGV[1])
if free > now then
  return free - now
end
redis.call('SET', KEYS[1], now + tonumber(ARGV[2]), 'PX', 60000 + tonumber(ARGV[2]))
return 0
