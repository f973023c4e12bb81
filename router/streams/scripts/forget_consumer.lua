-- Remove a dead consumer from its group, unless something is still pending for it or it beats again.
-- KEYS: the stream, the consumer's heartbeat, the deaths of its group (router/streams/consuming/poison_isolation.py).
-- ARGV: group, consumer.   Returns 1 if it was removed.
-- DELCONSUMER throws pending entries away, so the check and the removal must not come apart. What is known of the
-- consumer goes in the same step: who forgets it may die next, and nobody would look for that name again.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[3], 'trial:' .. ARGV[2], 'left:' .. ARGV[2])
return 1
