-- Make a dead letter of an entry, once: if it is still pending, write the letter and acknowledge the entry.
-- KEYS: the entry's stream, the dead-letters stream, the sorted set of the shared bodies that dead letters refer to.
-- ARGV: group, entry id, name of the entry's shared body (empty: none), then field, value, ... of the letter.
-- Returns the letter's id, or false if the entry was no longer pending.
-- The letter is written first: if XADD fails, the entry stays pending and is not lost.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), ARGV[3])
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return id
