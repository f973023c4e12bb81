-- Put a dead letter's entry back on its stream, once.
-- KEYS: the dead-letters stream, the entry's stream, the sorted set of the shared bodies that inbound entries refer to.
-- ARGV: the letter's id, name of the entry's shared body (empty: none), then field, value, ... of the entry.
-- Returns the new entry id, or false if the letter was gone.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), ARGV[2])
end
redis.call('XDEL', KEYS[1], ARGV[1])
return id
