-- Make a dead letter of an entry, once: if it is pending for this consumer, write the letter and acknowledge the entry.
-- KEYS: the entry's stream, the dead-letters stream, the sorted set of the shared bodies that dead letters refer to.
-- ARGV: group, entry id, name of the entry's shared body (empty: none), consumer, then field, value, ... of the letter.
-- Returns the letter's id, or false if the entry was not pending for the consumer any more.
-- The letter is written first: if XADD fails, the entry stays pending and is not lost.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if #pending == 0 or pending[1][2] ~= ARGV[4] then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), ARGV[3])
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return id
