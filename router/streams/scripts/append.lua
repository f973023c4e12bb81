-- Append an inbound entry once, behind the one before it of the same subject.
-- KEYS: the inbound stream, the subject's latest entry, the claim of the idempotency key, the claims of its aliases
--       (keys under which another source reports the same event).
-- ARGV: TTL of the claims and of the latest entry in seconds, then field, value, ...
-- Returns the entry id, or false for a duplicate: any of the claims was there already; the others are made good then.
-- The entry comes first: if XADD fails no claim is made, so nothing is marked seen that is not in the stream.
local missing = {}
for index = 3, #KEYS do
  if redis.call('EXISTS', KEYS[index]) == 0 then
    missing[#missing + 1] = KEYS[index]
  end
end
local id = false
if #missing == #KEYS - 2 then
  local fields = {unpack(ARGV, 3)}
  local before = redis.call('GET', KEYS[2])
  if before then
    fields[#fields + 1] = 'after'
    fields[#fields + 1] = before
  end
  id = redis.call('XADD', KEYS[1], '*', unpack(fields))
  redis.call('SET', KEYS[2], id, 'EX', ARGV[2])
end
for _, claim in ipairs(missing) do
  redis.call('SET', claim, id or 'alias', 'EX', ARGV[1])
end
return id
