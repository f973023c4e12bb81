-- Mark a step of an entry's effect as done. The first value is kept.
-- KEYS: the effect's hash.   ARGV: step, TTL in seconds, its state: 'd' and the value, or 's' and the sealed value; then
-- the steps whose values are blanked, if they are done.
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.find(state, '^[ds]') then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
for at = 4, #ARGV do
  if string.find(redis.call('HGET', KEYS[1], ARGV[at]) or '', '^[ds]') then
    redis.call('HSET', KEYS[1], ARGV[at], 'd')
  end
end
return 1
