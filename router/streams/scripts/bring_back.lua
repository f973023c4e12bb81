-- Bring parked entries of a lane back: the longest due subjects first, each entry pending for this consumer again.
-- KEYS: the stream; the group's parked entries (router/streams/store/parking.py): queue, order, subjects, entries, due;
--       the group's crash counts (router/streams/consuming/poison_isolation.py).
-- ARGV: group, consumer, lane, maximum number of subjects, of entries, of entries of one subject, and of bytes; the time
--       in ms after which the rest of a subject is due again, if nobody resumes it before.
-- Returns {id, fields, crashes, '1' if an attempt may have had an effect, '1' if the budget keeps it, subject, tries,
-- since, number of its entries left} for each entry, fields are false if the stream no longer has it; and the version of
-- a record that was left alone because it is newer, or an empty text.
-- A subject whose last attempt did not succeed brings one entry.
local VERSION = 1
local stream, queue, order, subjects, entries, due, deaths = unpack(KEYS)
local group, consumer, lane = ARGV[1], ARGV[2], ARGV[3]
local room, of_one, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function at_time(millis)
  local text = string.format('%d', millis)
  return lane .. '\n' .. string.rep('0', 15 - #text) .. text .. '\n'
end
local function fields_of(id)
  local found = redis.call('XRANGE', stream, id, id)
  if #found == 0 then
    return false
  end
  for _, value in ipairs(found[1][2]) do
    bytes = bytes - #value
  end
  return found[1][2]
end
local function is_newer(record)
  return tonumber(record and string.match(record, '^%d+') or 0) > VERSION
end
local function id_of(member)
  local millis, number = string.match(string.sub(member, -41), '^0*(%d+)-0*(%d+)$')
  return millis .. '-' .. number
end
local function unpark(member, subject, tries, since)
  local id = id_of(member)
  local version, count, is_begun, is_kept = string.match(redis.call('HGET', entries, id) or '1 1 0 0', '^(%d+) (%d+) (%d) (%d)')
  local fields = false
  -- An entry that is pending was delivered again because its group was lost: whoever has it goes on with it.
  local is_pending = #redis.call('XPENDING', stream, group, id, id, 1) > 0
  if not is_pending and #redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', count, 'FORCE', 'JUSTID') > 0 then
    fields = fields_of(id)
  end
  redis.call('ZREM', queue, member)
  redis.call('ZREM', order, id)
  redis.call('HDEL', entries, id)
  if is_pending then
    return nil
  end
  return { id, fields, tonumber(redis.call('HGET', deaths, id) or 0), is_begun, is_kept, subject, tonumber(tries), since }
end

local taken, newer = {}, ''
local subjects_left = tonumber(ARGV[4])
-- Some more rows than subjects: those of newer versions are passed over.
local rows = redis.call('ZRANGEBYLEX', due, '[' .. lane .. '\n', '(' .. at_time(now + 1), 'LIMIT', 0, subjects_left + 100)
for _, row in ipairs(rows) do
  if room <= 0 or bytes <= 0 or subjects_left <= 0 then
    break
  end
  local subject = string.sub(row, #lane + 18)
  local record = redis.call('HGET', subjects, subject) or ''
  local version, since, _, tries, rest = string.match(record, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n(.*)$')
  if is_newer(record) then
    newer = string.match(record, '^%d+')
  elseif not version then
    redis.call('ZREM', due, row)
  else
    local from, to = '[' .. subject .. '\n', '(' .. subject .. '\n:'
    local number = tonumber(tries) > 0 and 1 or math.min(of_one, room)
    local first = #taken + 1
    subjects_left = subjects_left - 1
    for _, member in ipairs(redis.call('ZRANGEBYLEX', queue, from, to, 'LIMIT', 0, number)) do
      local state = redis.call('HGET', entries, id_of(member))
      if is_newer(state) then
        newer = string.match(state, '^%d+')
        break
      end
      if bytes > 0 then
        taken[#taken + 1] = unpark(member, subject, tries, since)
        room = room - 1
      end
    end
    local left = redis.call('ZLEXCOUNT', queue, from, to)
    for position = first, #taken do
      taken[position][9] = left
    end
    redis.call('ZREM', due, row)
    if left == 0 then
      redis.call('HDEL', subjects, subject)
    else
      local later = string.format('%d', now + tonumber(ARGV[8]))
      redis.call('HSET', subjects, subject, table.concat({ version, since, later, tries, rest }, '\n'))
      redis.call('ZADD', due, 0, at_time(later) .. subject)
    end
  end
end
return { taken, newer }
