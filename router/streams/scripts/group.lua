-- Create a consumer group where it stood by its note, restore one that has lost something since, and note how far it is.
-- KEYS: the stream, the note, the order of the group's parked entries (router/streams/store/parking.py).
-- ARGV: group, 'create' or 'note'; to create, where a group without a note begins, '0' or '$' (the end); to note: ms between two notes of all its consumers (0: note now), the most pending
--       entries to note, the note's lifetime in seconds.
-- Returns {1 if the group was created, 1 if it was noted, the id from which it was set to its note (empty: it was not),
-- number of entries of an existing group that are pending again}. A missing stream is created, but not to note.
-- The note is a hash: `at` (ms, by this server's clock), `last` (every entry up to it is finished, parked, or listed as
-- pending), `read` (entries read so far, empty if unknown), `pending` (lines of entry id, delivery count and consumer),
-- `consumers` (those that have been delivered something). A note that is newer than the stream is about another one.
-- An entry of the note that is not pending any more is finished, unless its consumer is not there any more, or is there
-- anew: consumers are only removed with nothing pending, and forget_consumer.lua corrects the note. If that is true of
-- all consumers, or if the group is behind its note, it is another group, and everything since the note is in doubt.
local function record(row)
  local found = {}
  for at = 1, #row, 2 do
    found[row[at]] = row[at + 1]
  end
  return found
end
local function padded(id) -- ids have up to 20 digits on each side, more than a Lua number can hold
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #time) .. time .. string.rep('0', 20 - #number) .. number
end
local function is_less(one, other)
  return padded(one) < padded(other)
end
local function before(id)
  local time, number = string.match(id, '^(%d+)-(%d+)$')
  if number == '0' then
    return string.format('%.0f-18446744073709551615', tonumber(time) - 1)
  end
  return time .. '-' .. string.format('%.0f', tonumber(number) - 1)
end
local stream_key, note_key, order, name = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local parts, note = { 'at', 'last', 'read', 'pending', 'consumers' }, {}
for number, value in ipairs(redis.call('HMGET', note_key, unpack(parts))) do
  note[parts[number]] = value or nil
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
if ARGV[2] == 'note' and now - tonumber(note.at or '0') < tonumber(ARGV[3]) then
  return { 0, 0, '', 0 }
end

local function read_group()
  local groups = redis.pcall('XINFO', 'GROUPS', stream_key)
  for _, row in ipairs(groups.err and {} or groups) do
    local group = record(row)
    if group.name == name then
      return group
    end
  end
end
-- The number of entries up to `last`. That of the note may be the number of an earlier stream: never more than there are.
local function entries_read(stream, last)
  local added, first = stream['entries-added'], stream['first-entry']
  if added and (not first or is_less(last, first[1])) then
    return added - stream.length
  end
  local read = tonumber(note.read)
  return read and (not added or read <= added) and read or nil
end
local function position(command, stream)
  local read = entries_read(stream, note.last)
  if read then
    redis.call('XGROUP', command, stream_key, name, note.last, 'ENTRIESREAD', string.format('%.0f', read))
  else
    redis.call('XGROUP', command, stream_key, name, note.last)
  end
end
local function is_open(id)
  return #redis.call('XPENDING', stream_key, name, id, id, 1) > 0 or redis.call('ZSCORE', order, id)
end
local function claim(is_lost) -- the entries of the note whose consumer `is_lost`, for the same consumers
  local claimed = 0
  for line in string.gmatch(note.pending or '', '[^\n]+') do
    local id, count, consumer = string.match(line, '^(%S+) (%d+) (.*)$')
    if is_lost(consumer) and not is_open(id) then
      local args = { 'XCLAIM', stream_key, name, consumer, 0, id, 'RETRYCOUNT', count, 'FORCE', 'JUSTID' }
      claimed = claimed + #redis.call(unpack(args))
    end
  end
  return claimed
end
local function consumers() -- those that have been delivered something; before Redis 7.2 that is not known
  local found = {}
  for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream_key, name)) do
    local consumer = record(row)
    if consumer.inactive ~= -1 then
      found[#found + 1] = consumer.name
      found[consumer.name] = true
    end
  end
  return found
end
local function restore(group, stream)
  local there, is_another = consumers(), (note.consumers or '') ~= ''
  for consumer in string.gmatch(note.consumers or '', '[^\n]+') do
    is_another = is_another and not there[consumer]
  end
  local last, from = group['last-delivered-id'], ''
  is_another = is_another or is_less(last, note.last)
  if is_another and last ~= note.last then
    position('SETID', stream)
    from = last
  end
  return from, claim(function(consumer) return is_another or not there[consumer] end)
end

local group, stream = read_group(), nil
if note.last and redis.call('EXISTS', stream_key) == 1 then
  stream = record(redis.call('XINFO', 'STREAM', stream_key))
  if is_less(stream['last-generated-id'], note.last) then
    stream = nil
  end
end
local created, from, claimed = 0, '', 0
if group and stream then
  from, claimed = restore(group, stream)
elseif not group and ARGV[2] == 'create' then
  if stream then
    position('CREATE', stream)
    claim(function() return true end)
  else
    -- A group that had a note has lost its stream: the present one began since, so nothing in it is old.
    local args = { 'XGROUP', 'CREATE', stream_key, name, note.last and '0' or ARGV[3], 'MKSTREAM' }
    if args[5] == '$' and redis.call('EXISTS', stream_key) == 1 and redis.call('TYPE', stream_key).ok == 'stream' then
      local added = record(redis.call('XINFO', 'STREAM', stream_key))['entries-added']
      if added then -- without it the server does not know the group's lag
        args[7], args[8] = 'ENTRIESREAD', string.format('%.0f', added)
      end
    end
    local result = redis.pcall(unpack(args))
    if result.err then
      return result
    end
    redis.call('DEL', note_key)
  end
  created = 1
end
if ARGV[2] ~= 'note' or not group then
  return { created, 0, from, claimed }
end

group = read_group()
local most = tonumber(ARGV[4])
local last, read, lines = group['last-delivered-id'], group['entries-read'] or '', {}
for number, row in ipairs(redis.call('XPENDING', stream_key, name, '-', '+', most + 1)) do
  if number > most then
    last, read = before(row[1]), ''
  else
    lines[number] = row[1] .. ' ' .. row[4] .. ' ' .. row[2]
  end
end
redis.call('HSET', note_key, 'at', now, 'last', last, 'read', read, 'pending', table.concat(lines, '\n'), 'consumers',
  table.concat(consumers(), '\n'))
redis.call('EXPIRE', note_key, ARGV[5])
return { created, 1, from, claimed }
