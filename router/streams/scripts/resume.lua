-- Make subjects due now, because an entry of theirs succeeded.
-- KEYS: the group's parked subjects and their due times (router/streams/store/parking.py).   ARGV: subjects.
-- Returns the number of subjects that had parked entries.
local VERSION = 1
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local number = 0
for _, subject in ipairs(ARGV) do
  local record = redis.call('HGET', KEYS[1], subject) or ''
  local version, since, at, _, lane, reason = string.match(record, '^(%d+)\n(%d+)\n(%d+)\n(%d+)\n([^\n]*)\n(.*)$')
  if version and tonumber(version) <= VERSION then
    redis.call('ZREM', KEYS[2], lane .. '\n' .. string.rep('0', 15 - #at) .. at .. '\n' .. subject)
    redis.call('HSET', KEYS[1], subject, table.concat({ version, since, now, 0, lane, reason }, '\n'))
    redis.call('ZADD', KEYS[2], 0, lane .. '\n' .. string.rep('0', 15 - #now) .. now .. '\n' .. subject)
    number = number + 1
  end
end
return number
