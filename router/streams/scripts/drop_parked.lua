-- Drop the records of parked entries; the entries stay in the stream, finished for the group.
-- KEYS: the group's parked entries (router/streams/store/parking.py): queue, order, subjects, entries, due.
-- ARGV: for each entry its subject and its id.
-- Returns the number of records that existed.
local queue, order, subjects, entries, due = unpack(KEYS)
local function padded(number, width)
  return string.rep('0', width - #number) .. number
end
local dropped = 0
for at = 1, #ARGV, 2 do
  local subject, id = ARGV[at], ARGV[at + 1]
  local millis, number = string.match(id, '^(%d+)-(%d+)$')
  dropped = dropped + redis.call('ZREM', queue, subject .. '\n' .. padded(millis, 20) .. '-' .. padded(number, 20))
  redis.call('ZREM', order, id)
  redis.call('HDEL', entries, id)
  local record = redis.call('HGET', subjects, subject)
  if record and redis.call('ZLEXCOUNT', queue, '[' .. subject .. '\n', '(' .. subject .. '\n:') == 0 then
    local millis_due, lane = string.match(record, '^%d+\n%d+\n(%d+)\n%d+\n([^\n]*)\n')
    redis.call('HDEL', subjects, subject)
    redis.call('ZREM', due, lane .. '\n' .. padded(millis_due, 15) .. '\n' .. subject)
  end
end
return dropped
