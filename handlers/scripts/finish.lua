-- Mark a step of an entry's effect as done.
-- KEYS: the effect's hash.   ARGV: step, TTL in seconds, value.
-- What is done stays done with its first value, whoever comes later.
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.sub(state, 1, 1) == 'd' then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], 'd' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
