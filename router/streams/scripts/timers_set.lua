-- Set the time at which a conversation's floor must be looked at next, unless it has changed since.
-- KEYS: the partition's timers, the conversation's hash.   ARGV: revision, name, time in ms ('' for none).
local revision = redis.call('HGET', KEYS[2], 'rev')
if revision and revision ~= ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  return redis.call('ZREM', KEYS[1], ARGV[2])
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[2])
return 1
