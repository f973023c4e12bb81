-- Create a consumer group unless it exists: where it stood by its note (group_note.lua), else at the beginning.
-- KEYS: the stream, the note.   ARGV: group.
-- Returns 1 if it was created. A missing stream is created too.
-- Entries that were pending by the note are so again, for the same consumers: a live one goes on with them, and those of
-- a dead one are taken over as usual. A note that is newer than the stream is about another stream, which is gone.
local last = redis.call('HGET', KEYS[2], 'last')
if redis.call('EXISTS', KEYS[1]) == 0 then
  last = false
end
if last then
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if row[2] == ARGV[1] then
      return 0
    end
  end
  local stream, info = {}, redis.call('XINFO', 'STREAM', KEYS[1])
  for at = 1, #info, 2 do
    stream[info[at]] = info[at + 1]
  end
  local time = function(id) return tonumber(string.match(id, '^%d+')) end
  if time(stream['last-generated-id']) < time(last) then
    last = false
  end
end
if not last then
  local created = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
  if created.err and string.find(created.err, 'BUSYGROUP', 1, true) then
    return 0
  end
  if created.err then
    return created
  end
  redis.call('DEL', KEYS[2])
  return 1
end
local read = redis.call('HGET', KEYS[2], 'read')
if read ~= '' then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], last, 'ENTRIESREAD', read)
else
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], last)
end
for line in string.gmatch(redis.call('HGET', KEYS[2], 'pending'), '[^\n]+') do
  local id, count, consumer = string.match(line, '^(%S+) (%d+) (.*)$')
  redis.call('XCLAIM', KEYS[1], ARGV[1], consumer, 0, id, 'RETRYCOUNT', count, 'FORCE', 'JUSTID')
end
return 1
