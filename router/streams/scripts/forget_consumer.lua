-- Remove a dead consumer from its group, unless entries are pending for it or it beats again.
-- KEYS: the stream, the consumer's heartbeat, the group's crash counts (router/streams/consuming/poison_isolation.py), the
--       group's note (group.lua).
-- ARGV: group, consumer.   Returns 1 if it was removed.
-- DELCONSUMER discards pending entries, so the check and the removal must be one step. The consumer's notes are removed
-- in the same step: if the process that forgets it dies in between, no other would look for that name again.
-- The group's note loses the consumer too, since one that is missing there is taken for lost: what the note has as its
-- pending entries is finished, parked, or pending for others by now.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[3], 'trial:' .. ARGV[2], 'left:' .. ARGV[2])
local note = redis.call('HMGET', KEYS[4], 'pending', 'consumers')
if note[1] then
  local lines, consumers = {}, {}
  for line in string.gmatch(note[1], '[^\n]+') do
    local id, _, consumer = string.match(line, '^(%S+) (%d+) (.*)$')
    if consumer == ARGV[2] then
      local now = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
      line = now and id .. ' ' .. now[4] .. ' ' .. now[2]
    end
    lines[#lines + 1] = line or nil
  end
  for consumer in string.gmatch(note[2] or '', '[^\n]+') do
    consumers[#consumers + 1] = consumer ~= ARGV[2] and consumer or nil
  end
  redis.call('HSET', KEYS[4], 'pending', table.concat(lines, '\n'), 'consumers', table.concat(consumers, '\n'))
end
return 1
