-- Forget that a step of an entry's effect was begun, if nobody else has been at it since.
-- KEYS: the effect's hash.   ARGV: step, its state when it was begun.
-- Whoever is refused knows only that its own try had no effect.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
