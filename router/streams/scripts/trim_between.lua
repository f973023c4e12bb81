-- Remove finished entries between parked ones: XTRIM removes only what is before the first of them.
-- KEYS: the stream; the cursor of this stream's rounds; for each known group the order of its parked entries; of an
--       inbound stream the hash of the shared bodies, and the sorted sets of those that inbound entries and dead letters
--       refer to (router/streams/store/shared_bodies.py).
-- ARGV: an entry id: only older entries may go; the number of entries to look at; the lifetime of the cursor in seconds;
--       the names of the known groups.
-- Returns {number removed, '1' if the round is over}. The cursor is where the next run goes on.
-- An entry may go if no group has it unread, pending or parked. Redis frees a node of the stream with its last entry.
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

local order, groups, limit = {}, {}, ARGV[1]
for position = 4, #ARGV do
  order[ARGV[position]] = KEYS[position - 1]
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { 0, '1' }
end
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for at = 1, #row, 2 do
    group[row[at]] = row[at + 1]
  end
  if not order[group.name] then
    return { 0, '1' }
  end
  groups[#groups + 1] = group.name
  if is_less(group['last-delivered-id'], limit) then
    limit = group['last-delivered-id']
  end
end

local function is_needed(id)
  for _, name in ipairs(groups) do
    if redis.call('ZSCORE', order[name], id) or #redis.call('XPENDING', KEYS[1], name, id, id, 1) > 0 then
      return true
    end
  end
  return false
end
local from = redis.call('GET', KEYS[2])
local found = redis.call('XRANGE', KEYS[1], from and '(' .. from or '-', limit, 'COUNT', ARGV[2])
local shared = #KEYS - (#ARGV - 3) > 2 and #KEYS - 2
local function release(fields) -- remove the shared body with the last entry that refers to it
  for position = 1, shared and #fields or 0, 2 do
    if fields[position] == 'shared' then
      local name = fields[position + 1]
      local count = name .. ' entries'
      if redis.call('HEXISTS', KEYS[shared], count) == 1 and redis.call('HINCRBY', KEYS[shared], count, -1) <= 0 then
        redis.call('ZREM', KEYS[shared + 1], name)
        redis.call('HDEL', KEYS[shared], count)
        if not redis.call('ZSCORE', KEYS[shared + 2], name) then
          redis.call('HDEL', KEYS[shared], name)
        end
      end
    end
  end
end
local gone = {}
for _, row in ipairs(found) do
  if not is_needed(row[1]) then
    gone[#gone + 1] = row[1]
    release(row[2])
  end
end
if #gone > 0 then
  redis.call('XDEL', KEYS[1], unpack(gone))
end
if #found < tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[2])
  return { #gone, '1' }
end
redis.call('SET', KEYS[2], found[#found][1], 'EX', ARGV[3])
return { #gone, '0' }
