-- Mark a step of an entry's effect as done. The first value is kept.
-- KEYS: the effect's hash.   ARGV: step, TTL in seconds, value.
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.sub(state, 1, 1) == 'd' then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], 'd' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
