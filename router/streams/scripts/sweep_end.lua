-- End the claim of a sweep, if that claim still holds.
-- KEYS: the active conversations, their sweeps.
-- ARGV: name, end of the claim, next sweep (both in ms; 0: none), 1 to end the sweeps, the last event as of the claim.
-- A conversation whose sweeps end stays if it had an event since the claim and there is a next sweep.
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
