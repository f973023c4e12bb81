-- Take the next call of a budget that is spread evenly over time.
-- KEYS: the time from which the next call may be made (ms).   ARGV: now (ms), ms between two calls.
-- Returns 0 if a call may be made now (it is then counted), else the ms to wait.
local free = tonumber(redis.call('GET', KEYS[1]) or '0')
local now = tonumber(ARGV[1])
if free > now then
  return free - now
end
redis.call('SET', KEYS[1], now + tonumber(ARGV[2]), 'PX', 60000 + tonumber(ARGV[2]))
return 0
