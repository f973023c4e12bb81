-- Find a subject's newest inbound entries, by way of the entry that each names as the one before it.
-- KEYS: the inbound stream, the subject's latest entry.
-- ARGV: ms since 1970: entries appended before are not wanted; maximum number of entries.
-- Returns the entries, the newest first. The search ends at an entry that has been trimmed.
local found = {}
local id = redis.call('GET', KEYS[2])
while id and #found < tonumber(ARGV[2]) and tonumber(string.match(id, '^%d+')) >= tonumber(ARGV[1]) do
  local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
  id = false
  if entry then
    found[#found + 1] = entry
    for position = 1, #entry[2], 2 do
      if entry[2][position] == 'after' then
        id = entry[2][position + 1]
      end
    end
  end
end
return found
