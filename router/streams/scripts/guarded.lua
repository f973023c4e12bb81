-- Run commands on the keys of one partition, all or none, while its fence has the expected value.
-- KEYS: the fence.   ARGV: the fence's value, then for each command the number of its words, and the words.
-- Returns the result of each. So a process that was held up in the middle of a repartition, and whose work another has
-- taken over meanwhile, can change nothing any more.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('FENCED another process has taken over')
end
local results, at = {}, 2
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  results[#results + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return results
