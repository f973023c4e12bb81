-- End the claim of a sweep, if it is still the one that was made.
-- KEYS: the active conversations, their sweeps. ARGV: name, end of the claim, next sweep (both in ms), 1 if it is not to
--       be swept any more, its last event when it was claimed.
-- What is over stays all the same if it had an event meanwhile and there is a next sweep for that.
local claimed = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not claimed or tonumber(claimed) ~= tonumber(ARGV[2]) then
  return 0
end
local active = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0')
local is_again = ARGV[3] ~= '0' and active ~= tonumber(ARGV[5])
if ARGV[4] == '1' and not is_again then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
else
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
end
return 1
