-- Append a copy of an inbound entry behind the newest one of its subject, once.
-- KEYS: the inbound stream, the subject's latest entry, the sorted set of the shared bodies that inbound entries refer
--       to, the claim of this repetition, the partition's fence, the hash of the shared bodies.
-- ARGV: id of the entry, lifetime of the latest entry, lifetime of the claim, both in seconds, number of partitions, the
--       subject's checksum (core.keys), and the conversation to name in the copy as gone, if it is.
-- Returns the new entry id; false if it was appended before, or if the entry has been trimmed.
local fence = redis.call('GET', KEYS[5])
if fence and fence ~= ARGV[4] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
if redis.call('EXISTS', KEYS[4]) == 1 then
  return false
end
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
  return false
end
local fields, before, shared = {}, redis.call('GET', KEYS[2]), nil
for position = 1, #entry[2], 2 do
  local name, value = entry[2][position], entry[2][position + 1]
  if name ~= 'after' and name ~= 'gone' then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if name == 'shared' then
    shared = value
  end
end
if before then
  fields[#fields + 1] = 'after'
  fields[#fields + 1] = before
end
if ARGV[6] then
  fields[#fields + 1] = 'gone'
  fields[#fields + 1] = ARGV[6]
end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
if shared then
  redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), shared)
  if redis.call('HEXISTS', KEYS[6], shared .. ' entries') == 1 then
    redis.call('HINCRBY', KEYS[6], shared .. ' entries', 1)
  end
end
redis.call('SET', KEYS[2], id, 'EX', ARGV[2])
redis.call('SET', KEYS[4], id .. ' ' .. ARGV[5], 'EX', ARGV[3]) -- after the entry: if XADD fails, a retry must not find the claim
return id
