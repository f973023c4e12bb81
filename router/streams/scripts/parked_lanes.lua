-- List the lanes that have parked subjects.
-- KEYS: the due times of a group's parked subjects (router/streams/store/parking.py).   ARGV: maximum number of lanes.
-- Returns {lane, number of its subjects, ms until the first of them is due} for each lane.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lanes, from = {}, '-'
for _ = 1, tonumber(ARGV[1]) do
  local row = redis.call('ZRANGEBYLEX', KEYS[1], from, '+', 'LIMIT', 0, 1)[1]
  if not row then
    break
  end
  local lane, at = string.match(row, '^([^\n]*)\n(%d+)\n')
  local after = '(' .. lane .. '\n:'
  lanes[#lanes + 1] = { lane, redis.call('ZLEXCOUNT', KEYS[1], '[' .. lane .. '\n', after), tonumber(at) - now }
  from = '[' .. lane .. '\n:'
end
return lanes
