-- Note how far a group has come, so that it continues there if it is lost (group_create.lua).
-- KEYS: the stream, the note.
-- ARGV: group, ms between two notes of all its consumers (0: note now), the most pending entries to note, the note's
--       lifetime in seconds.
-- The note is a hash: `at` (ms, by this server's clock), `last` (every entry up to it is finished, or listed as pending),
-- `read` (entries read so far, empty if unknown), `pending` (lines of entry id, delivery count and consumer).
-- Returns 1 if it was noted.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if now - tonumber(redis.call('HGET', KEYS[2], 'at') or '0') < tonumber(ARGV[2]) then
  return 0
end
local groups, found = redis.pcall('XINFO', 'GROUPS', KEYS[1]), nil
for _, row in ipairs(groups.err and {} or groups) do
  local group = {}
  for at = 1, #row, 2 do
    group[row[at]] = row[at + 1]
  end
  if group.name == ARGV[1] then
    found = group
  end
end
if not found then
  return 0
end

-- The id before another one.
local function before(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  if number == '0' then
    return string.format('%.0f-18446744073709551615', tonumber(time) - 1)
  end
  return time .. '-' .. string.format('%.0f', tonumber(number) - 1)
end

local most = tonumber(ARGV[3])
local last, read, lines = found['last-delivered-id'], found['entries-read'] or '', {}
for number, row in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', most + 1)) do
  if number > most then
    last, read = before(row[1]), ''
  else
    lines[number] = row[1] .. ' ' .. row[4] .. ' ' .. row[2]
  end
end
redis.call('HSET', KEYS[2], 'at', now, 'last', last, 'read', read, 'pending', table.concat(lines, '\n'))
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
