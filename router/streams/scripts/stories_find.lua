-- Find lists of stories (stories_index.lua) by their names and by names that point to them.
-- KEYS: the beginning of the partition's keys of stories.
-- ARGV: most lists; the number of days, and the days, the newest first; then names: `l` and the name of a list, or `i`
--       and a name that points to lists.
-- Returns for each list, the newest day first, its day, its name and its elements.
local P, most, days = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local found, rows = {}, {}

local function add(day, list)
  if #rows < most and not found[day .. list] then
    found[day .. list] = true
    local lines = redis.call('LRANGE', P .. day .. ':l' .. list, 0, -1)
    if #lines > 0 then
      rows[#rows + 1] = { day, list, lines }
    end
  end
end

for index = 3, 2 + days do
  local day = ARGV[index]
  for at = 3 + days, #ARGV do
    local kind, name = string.sub(ARGV[at], 1, 1), string.sub(ARGV[at], 2)
    if kind == 'l' then
      add(day, name)
    else
      local rest = string.sub(name, 4)
      local pointers = redis.call('LRANGE', P .. day .. ':i' .. string.sub(name, 1, 3), 0, -1)
      for position = #pointers, 1, -1 do
        if string.sub(pointers[position], 1, #rest) == rest then
          add(day, string.sub(pointers[position], #rest + 1))
        end
      end
    end
  end
end
return rows
