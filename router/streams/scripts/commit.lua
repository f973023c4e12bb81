-- Commit what one or more events changed in a conversation, if nobody else changed it since it was read.
-- KEYS: the conversation's hash, the streams, where conversations are noted for the reconciler the sets of the active
--       ones and of their sweeps, then the claims of entries.
-- ARGV: revision that was read, TTL in seconds, number of sets, (field, value)..., number of removals, field...,
--       number of entries, (index of the stream in KEYS, type, id, event,
--                           life in seconds of its claims, their number, index of each in KEYS...)...,
--       and to note the conversation: its name, the time, when to sweep it if it is new or in doubt (both in ms), the
--       sets' life in seconds, 1 if it is in doubt, the index of the first of them in KEYS.
-- Returns the ids of entries that were left out because one of their claims was taken; nil if the revision is another
-- one by now: then nothing is changed. Entries alone do not change the revision.
if (redis.call('HGET', KEYS[1], 'rev') or '0') ~= ARGV[1] then
  return false
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
local repeated = {}
for _ = 1, tonumber(take()) do
  local stream = KEYS[tonumber(take())]
  local kind = take()
  local id = take()
  local event = take()
  local life = take()
  local claims = {}
  local is_new = true
  for _ = 1, tonumber(take()) do
    local claim = KEYS[tonumber(take())]
    claims[#claims + 1] = claim
    is_new = is_new and redis.call('EXISTS', claim) == 0
  end
  if is_new then
    redis.call('XADD', stream, '*', 'type', kind, 'id', id, 'event', event)
  else
    repeated[#repeated + 1] = id
  end
  for _, claim in ipairs(claims) do -- after the entry: if that fails, its repetition must not find itself claimed
    redis.call('SET', claim, '1', 'NX', 'EX', life)
  end
end
if #sets + #removals > 0 then
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
  for first = 1, #sets, 1000 do -- unpack cannot take some thousands at once
    redis.call('HSET', KEYS[1], unpack(sets, first, math.min(first + 999, #sets)))
  end
  for first = 1, #removals, 1000 do
    redis.call('HDEL', KEYS[1], unpack(removals, first, math.min(first + 999, #removals)))
  end
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
local name = ARGV[at]
if name then
  local active, sweeps = KEYS[tonumber(ARGV[at + 5])], KEYS[tonumber(ARGV[at + 5]) + 1]
  if redis.call('ZADD', active, ARGV[at + 1], name) == 1 or ARGV[at + 4] == '1' then
    redis.call('ZADD', sweeps, 'LT', ARGV[at + 2], name)
    redis.call('EXPIRE', active, ARGV[at + 3])
    redis.call('EXPIRE', sweeps, ARGV[at + 3])
  end
end
return repeated
