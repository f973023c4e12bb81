-- Commit what one or more events changed in a conversation, if nobody else changed it since it was read.
-- KEYS: the conversation's hash, then the streams.
-- ARGV: revision that was read, TTL in seconds, number of sets, (field, value)..., number of removals, field...,
--       number of entries, (index of the stream in KEYS, type, id, event)...
-- Returns 1, or 0 if the revision is another one by now: then nothing is changed.
if (redis.call('HGET', KEYS[1], 'rev') or '0') ~= ARGV[1] then
  return 0
end
local at = 3
local function take()
  at = at + 1
  return ARGV[at - 1]
end
local sets = {}
for _ = 1, tonumber(take()) do
  sets[#sets + 1] = take()
  sets[#sets + 1] = take()
end
local removals = {}
for _ = 1, tonumber(take()) do
  removals[#removals + 1] = take()
end
for _ = 1, tonumber(take()) do
  local stream = KEYS[tonumber(take())]
  redis.call('XADD', stream, '*', 'type', take(), 'id', take(), 'event', take())
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
for first = 1, #sets, 1000 do -- unpack cannot take some thousands at once
  redis.call('HSET', KEYS[1], unpack(sets, first, math.min(first + 999, #sets)))
end
for first = 1, #removals, 1000 do
  redis.call('HDEL', KEYS[1], unpack(removals, first, math.min(first + 999, #removals)))
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
