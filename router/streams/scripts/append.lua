-- Append an inbound entry once.
-- KEYS: the idempotency key's claim, the inbound stream.   ARGV: TTL of the claim in seconds, then field, value, ...
-- Returns the entry id, or false for a duplicate.
-- The entry comes first: if XADD fails the claim is not made, so nothing is marked seen that is not in the stream.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return false
end
local id = redis.call('XADD', KEYS[2], '*', unpack(ARGV, 2))
redis.call('SET', KEYS[1], id, 'EX', ARGV[1])
return id
