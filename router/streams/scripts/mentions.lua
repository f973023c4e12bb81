-- Find the hashes that mention one of some words in the name or the value of a field, without sending them.
-- KEYS: the hashes.
-- ARGV: the words.
-- Returns the positions of those that do, from 1.
local found = {}
for position, hash in ipairs(KEYS) do
  local is_in = false
  for _, text in ipairs(redis.call('HGETALL', hash)) do
    for _, word in ipairs(ARGV) do
      is_in = is_in or string.find(text, word, 1, true) ~= nil
    end
  end
  if is_in then
    found[#found + 1] = position
  end
end
return found
