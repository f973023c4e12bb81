-- Remove a dead consumer from its group, unless entries are pending for it or it beats again.
-- KEYS: the stream, the consumer's heartbeat, the group's crash counts (router/streams/consuming/poison_isolation.py).
-- ARGV: group, consumer.   Returns 1 if it was removed.
-- DELCONSUMER discards pending entries, so the check and the removal must be one step. The consumer's notes are removed
-- in the same step: if the process that forgets it dies in between, no other would look for that name again.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[3], 'trial:' .. ARGV[2], 'left:' .. ARGV[2])
return 1
