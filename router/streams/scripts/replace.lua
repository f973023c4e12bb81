-- Set a string if it still has the value that was read.
-- KEYS: the string.   ARGV: the value that was read (empty: none), the new one.   Returns 1 if it was set.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
