-- Note that a process is alive, and what it says of itself; the names of all are in one set.
-- KEYS: the process' own key, the sorted set of all names.
-- ARGV: its name, its record, ms until the record expires; ms after which the name of a dead process is forgotten; most
--       names, of which the ones that have been silent the longest go with their records.
-- An empty record: the process ends in order, and is forgotten at once.
-- Returns 1, or 0 if Redis takes no record: then only the time of the last one is renewed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
local written = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if type(written) == 'table' and written.err then -- without memory: a later expiry needs none, and the record stays
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 0
end
redis.call('ZADD', KEYS[2], string.format('%d', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%d', now - tonumber(ARGV[4])))
redis.call('PEXPIRE', KEYS[2], ARGV[4])
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[5])
if surplus > 0 then
  local oldest, beginning = redis.call('ZPOPMIN', KEYS[2], surplus), string.sub(KEYS[1], 1, -#ARGV[1] - 1)
  for index = 1, #oldest, 2 do
    redis.call('UNLINK', beginning .. oldest[index])
  end
end
return 1
