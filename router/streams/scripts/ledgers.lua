-- Read fields of many conversations in one run: a reply for each would cost the client more than the reading.
-- KEYS: the conversations' hashes.
-- ARGV: number of fields that are read of every conversation, field..., then for each conversation the number of its
--       further fields, field...
-- Returns for each conversation the values in that order.
local shared = tonumber(ARGV[1])
local at = shared + 2
local found = {}
for number, hash in ipairs(KEYS) do
  local names = {}
  for position = 1, shared do
    names[position] = ARGV[position + 1]
  end
  local last = at + tonumber(ARGV[at])
  for position = at + 1, last do
    names[#names + 1] = ARGV[position]
  end
  at = last + 1
  local values = {}
  for first = 1, #names, 1000 do -- unpack fails with several thousand values
    local part = redis.call('HMGET', hash, unpack(names, first, math.min(first + 999, #names)))
    if first == 1 then
      values = part
    else
      for position, value in ipairs(part) do -- a missing field is false, not nil
        values[first + position - 1] = value
      end
    end
  end
  found[number] = values
end
return found
