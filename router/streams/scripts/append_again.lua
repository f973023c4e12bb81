-- Append a copy of an inbound entry behind the newest one of its subject, once.
-- KEYS: the inbound stream, the subject's latest entry, the claim of this repetition.
-- ARGV: id of the entry, lifetime of the latest entry, lifetime of the claim, both in seconds.
-- Returns the new entry id; false if it was appended before, or if the entry has been trimmed.
if redis.call('EXISTS', KEYS[3]) == 1 then
  return false
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
  return false
end
local fields, before = {}, redis.call('GET', KEYS[2])
for position = 1, #entry[2], 2 do
  if entry[2][position] ~= 'after' then
    fields[#fields + 1] = entry[2][position]
    fields[#fields + 1] = entry[2][position + 1]
  end
end
if before then
  fields[#fields + 1] = 'after'
  fields[#fields + 1] = before
end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('SET', KEYS[2], id, 'EX', ARGV[2])
redis.call('SET', KEYS[3], id, 'EX', ARGV[3]) -- after the entry: if XADD fails, a retry must not find the claim
return id
