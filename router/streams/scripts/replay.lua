-- Put a dead letter's entry back on its stream, once.
-- KEYS: the dead-letters stream, the entry's stream, the sorted set of the shared bodies that inbound entries refer to,
--       the partition's fence, the hash of the shared bodies.
-- ARGV: the letter's id, name of the entry's shared body (empty: none), number of partitions, then field, value, ... of
--       the entry.
-- Returns the new entry id, or false if the letter was gone.
local fence = redis.call('GET', KEYS[4])
if fence and fence ~= ARGV[3] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), ARGV[2])
  if redis.call('HEXISTS', KEYS[5], ARGV[2] .. ' entries') == 1 then
    redis.call('HINCRBY', KEYS[5], ARGV[2] .. ' entries', 1)
  end
end
redis.call('XDEL', KEYS[1], ARGV[1])
return id
