-- Claim the conversation whose sweep has been due for the longest, and drop the longest inactive ones of too many.
-- KEYS: the active conversations, their sweeps.
-- ARGV: now, end of the claim (both in ms), maximum number of conversations, lifetime of the sets in seconds.
-- Returns its name, its last event and the time from which it was due; nil if none is due.
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[3])
if excess > 0 then -- a bounded number per run: Redis does nothing else meanwhile
  local quietest = redis.call('ZRANGE', KEYS[1], 0, math.min(excess, 1000) - 1)
  redis.call('ZREM', KEYS[1], unpack(quietest))
  redis.call('ZREM', KEYS[2], unpack(quietest))
end
local due = redis.call('ZRANGE', KEYS[2], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
if #due == 0 then
  return false
end
redis.call('ZADD', KEYS[2], ARGV[2], due[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return { due[1], redis.call('ZSCORE', KEYS[1], due[1]) or '0', due[2] }
