-- Make a dead letter of an entry, once: whoever acknowledges it writes the letter.
-- KEYS: the entry's stream, the dead-letters stream.   ARGV: group, entry id, then field, value, ... of the letter.
-- Returns the letter's id, or false if the entry was not pending any more.
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  return false
end
return redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
