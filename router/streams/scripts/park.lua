-- Park pending entries: they leave the group's pending list and are recorded behind their subject, in stream order.
-- KEYS: the stream; then the group's parked entries (router/streams/store/parking.py): queue, order, subjects, entries,
--       due.
-- ARGV: group, consumer, '1' to park only entries behind a parked one of their subject; lane, delay in ms, the time
--       since when the subject waits (ms, 0: now), tries, reason; then for each entry its subject, its id, '1' if an
--       attempt may have had an effect, '1' if the dead-letter budget keeps it.
-- Returns for each entry 1: parked, 0: it is not pending for this consumer, 2: nothing before it is parked.
-- A second run finds the entries no longer pending and changes nothing. Delivery counts are kept for the way back.
local VERSION = '1'
local stream, queue, order, subjects, entries, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local group, consumer, is_behind_only, lane = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function padded(number, width)
  return string.rep('0', width - #number) .. number
end
local function first_of(subject)
  return redis.call('ZRANGEBYLEX', queue, '[' .. subject .. '\n', '(' .. subject .. '\n:', 'LIMIT', 0, 1)[1]
end
local function write(subject) -- when its first entry was parked: the subject waits as that entry does
  local old = redis.call('HGET', subjects, subject)
  if old and tonumber(string.match(old, '^%d+') or 0) > tonumber(VERSION) then
    return -- a process of a later release has written it, and brings the subject back
  end
  local since = ARGV[6] == '0' and string.format('%d', now) or ARGV[6]
  if old then
    local _, old_since, old_due, _, old_lane = string.match(old, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n([^\n]*)\n')
    redis.call('ZREM', due, old_lane .. '\n' .. padded(old_due, 15) .. '\n' .. subject)
    since = old_since < since and old_since or since
  end
  local at = string.format('%d', now + tonumber(ARGV[5]))
  redis.call('HSET', subjects, subject, table.concat({ VERSION, since, at, ARGV[7], lane, ARGV[8] }, '\n'))
  redis.call('ZADD', due, 0, lane .. '\n' .. padded(at, 15) .. '\n' .. subject)
end

local results = {}
for at = 9, #ARGV, 4 do
  local subject, id, result = ARGV[at], ARGV[at + 1], 1
  local millis, number = string.match(id, '^(%d+)-(%d+)$')
  local member = subject .. '\n' .. padded(millis, 20) .. '-' .. padded(number, 20)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)
  local first = first_of(subject)
  if #pending == 0 or pending[1][2] ~= consumer then
    result = 0
  elseif is_behind_only and (not first or first > member) then
    result = 2
  else
    redis.call('ZADD', queue, 0, member)
    redis.call('ZADD', order, millis, id)
    local count = pending[1][4]
    if count > 1 or ARGV[at + 2] == '1' or ARGV[at + 3] == '1' then
      redis.call('HSET', entries, id, table.concat({ VERSION, count, ARGV[at + 2], ARGV[at + 3] }, ' '))
    end
    if not first or member <= first then
      write(subject)
    end
    redis.call('XACK', stream, group, id)
  end
  results[#results + 1] = result
end
return results
