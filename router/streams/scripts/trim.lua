-- Remove entries from the beginning of a stream, as far as every group has finished them.
-- KEYS: the stream; for each known group the order of its parked entries (router/streams/store/parking.py).
-- ARGV: an entry id: older entries may go; the stream's maximum length, above which newer finished entries go too (0:
--       none); the maximum number of entries to remove in this run; the names of the known groups.
-- Returns {number removed, number left, the group that holds back the most, the oldest entry that it needs, the oldest
-- parked entry}; the last three are empty if there is none. A parked entry is not what a group is said to hold back.
-- Reading the groups and trimming are one step, so that no group can be created or set back in between; with a group
-- that is not known (it was created just now) nothing is removed.
local function is_less(one, other) -- ids have up to 20 digits on each side, more than a Lua number can hold
  local time, number = string.match(one, '^(%d+)-(%d+)$')
  local other_time, other_number = string.match(other, '^(%d+)-(%d+)$')
  for _, pair in ipairs({ { time, other_time }, { number, other_number } }) do
    if #pair[1] ~= #pair[2] then
      return #pair[1] < #pair[2]
    end
    if pair[1] ~= pair[2] then
      return pair[1] < pair[2]
    end
  end
  return false
end

if redis.call('EXISTS', KEYS[1]) == 0 then
  return { 0, 0, '', '', '' }
end
local order = {}
for position = 4, #ARGV do
  order[ARGV[position]] = KEYS[position - 2]
end
local floor, holder, oldest, parked -- every group has finished the entries below the floor
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #row, 2 do
    group[row[at]] = row[at + 1]
  end
  if not order[group.name] then
    return { 0, redis.call('XLEN', KEYS[1]), '', '', '' }
  end
  local reached, needed = group['last-delivered-id'], nil
  local pending = redis.call('XPENDING', KEYS[1], group.name)
  if pending[1] > 0 then
    reached, needed = pending[2], pending[2]
  else
    local unread = redis.call('XRANGE', KEYS[1], '(' .. reached, '+', 'COUNT', 1)
    needed = unread[1] and unread[1][1]
  end
  local first = redis.call('ZRANGE', order[group.name], 0, 0, 'WITHSCORES')[2]
  if first then -- the score is the time of the id, so that no entry of the same millisecond is taken for an older one
    first = string.format('%d', first) .. '-0'
    parked = (parked and is_less(parked, first)) and parked or first
    reached = is_less(first, reached) and first or reached
  end
  if not floor or is_less(reached, floor) then
    floor = reached
  end
  if needed and (not oldest or is_less(needed, oldest)) then
    holder, oldest = group.name, needed
  end
end
if not floor then
  return { 0, redis.call('XLEN', KEYS[1]), '', '', '' }
end

local most = tonumber(ARGV[3])
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '~', is_less(ARGV[1], floor) and ARGV[1] or floor, 'LIMIT', most)
local surplus = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[2])
if ARGV[2] ~= '0' and surplus > 0 and gone < most then
  gone = gone + redis.call('XTRIM', KEYS[1], 'MINID', '~', floor, 'LIMIT', math.min(most - gone, surplus))
end
return { gone, redis.call('XLEN', KEYS[1]), holder or '', oldest or '', parked or '' }
