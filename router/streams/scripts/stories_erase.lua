-- Erase the stories of a customer (stories_index.lua): the lists of the customer's own conversations and events, and what
-- points to a list of any other conversation.
-- KEYS: the beginning of the partition's keys of stories.
-- ARGV: '1' to count only; the number of days, and the days; then names: `l` and the name of a list of an own
--       conversation, or `i` and the digest of an address.
-- Returns the numbers of lists and of pointers found, and the headers of the lists of other conversations, which stay.
local P, is_dry, days = KEYS[1], ARGV[1] == '1', tonumber(ARGV[2])
local lists, pointers, others = 0, 0, {}

local function erase(day, list)
  local key = P .. day .. ':l' .. list
  if redis.call('EXISTS', key) == 1 then
    lists = lists + 1
    if not is_dry then
      redis.call('UNLINK', key)
      redis.call('ZREM', P .. 'lists', day .. ':' .. list)
    end
  end
end

-- Let later lines of the day make a pointer again.
local function forget(day, list, name)
  local key = P .. day .. ':l' .. list
  local header = redis.call('LINDEX', key, 0)
  if header then
    redis.call('LSET', key, 0, (string.gsub(header, ' ' .. name, '')))
  end
end

-- Returns the header of a list if it is of a conversation.
local function header_of(day, list)
  local header = redis.call('LINDEX', P .. day .. ':l' .. list, 0)
  return header and cjson.decode(header)[2] ~= '' and header
end

for index = 3, 2 + days do
  local day = ARGV[index]
  for at = 3 + days, #ARGV do
    local kind, name = string.sub(ARGV[at], 1, 1), string.sub(ARGV[at], 2)
    if kind == 'l' then
      erase(day, name)
    else
      local bucket, rest = P .. day .. ':i' .. string.sub(name, 1, 3), string.sub(name, 4)
      for _, pointer in ipairs(redis.call('LRANGE', bucket, 0, -1)) do
        if string.sub(pointer, 1, #rest) == rest then
          pointers = pointers + 1
          local list = string.sub(pointer, #rest + 1)
          local header = header_of(day, list)
          if header then
            others[#others + 1] = header
          else
            erase(day, list)
          end
          if not is_dry then
            redis.call('LREM', bucket, 0, pointer)
            forget(day, list, name)
          end
        end
      end
    end
  end
end
return { lists, pointers, others }
