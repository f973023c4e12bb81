-- Remove a dead consumer from its group, unless something is still pending for it or it beats again.
-- KEYS: the stream, the consumer's heartbeat.   ARGV: group, consumer.
-- DELCONSUMER throws pending entries away, so the check and the removal must not come apart.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
