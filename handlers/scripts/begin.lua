-- Begin a step of an entry's effect, unless it is done.
-- KEYS: the effect's hash.   ARGV: step, TTL in seconds, '1' to begin again a step that was begun and not finished.
-- Returns {'new', its state}, {'done', value} or {'unsure', milliseconds since it was begun}.
-- A step's field holds 'b' and when it was begun, or 'd' and its value; 'u' instead of 'b' once a second one is at it.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.sub(state, 1, 1) == 'd' then
  return {'done', string.sub(state, 2)}
end
local since = state and tonumber(string.sub(state, 2)) or now
local begun = (state and 'u' or 'b') .. string.format('%d', ARGV[3] == '1' and now or since)
redis.call('HSET', KEYS[1], ARGV[1], begun)
redis.call('EXPIRE', KEYS[1], ARGV[2])
if not state then
  return {'new', begun}
end
return {'unsure', now - since}
