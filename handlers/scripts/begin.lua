-- Begin a step of an entry's effect, unless it is done.
-- KEYS: the effect's hash.   ARGV: step, TTL in seconds, '1' to begin again a step that was begun and not finished.
-- Returns {'new'}, {'done', value} or {'unsure', milliseconds since it was begun}.
-- A step's field holds 'b' and when it was begun, or 'd' and its value.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.sub(state, 1, 1) == 'd' then
  return {'done', string.sub(state, 2)}
end
if not state or ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], 'b' .. string.format('%d', now))
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
if not state then
  return {'new'}
end
return {'unsure', now - tonumber(string.sub(state, 2))}
