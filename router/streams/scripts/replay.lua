-- Put a dead letter's entry back on its stream, once.
-- KEYS: the dead-letters stream, the entry's stream.   ARGV: the letter's id, then field, value, ... of the entry.
-- Returns the new entry id, or false if the letter was gone.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
