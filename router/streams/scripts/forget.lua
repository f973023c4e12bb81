-- Forget that a step of an entry's effect was begun, unless another try has begun since: that one may have an effect.
-- KEYS: the effect's hash.   ARGV: step, its state when it was begun.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
