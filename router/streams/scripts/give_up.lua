-- Make a dead letter of an entry, once: whoever finds it pending writes the letter and acknowledges it.
-- KEYS: the entry's stream, the dead-letters stream.   ARGV: group, entry id, then field, value, ... of the letter.
-- Returns the letter's id, or false if the entry was not pending any more.
-- The letter comes first: if XADD fails the entry stays pending, so nothing is acknowledged that is written nowhere.
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
return id
