-- Begin a step of an entry's effect, unless it is done.
-- KEYS: the effect's hash, the partition's fence; the conversation's hash if the step needs its epoch.
-- ARGV: step, TTL in seconds, '1' to begin a step again that was begun and not finished, number of partitions; the epoch
-- in which the conversation must be, and the target that must hold it (empty: any).
-- Returns {'new', its state}, {'done', its state}, {'unsure', milliseconds since it was begun}; if the epoch is another one
-- or another target holds {'stale', epoch}, or {'late', milliseconds since it was begun} if it was begun before.
-- A step's field holds 'd' and its value, 's' and its sealed value, or 'b' and the time in ms at which it was begun; 'u' instead of 'b' after the
-- step was begun a second time.
-- A process that missed a move of the partitions begins nothing: the effects are elsewhere by now.
local fence = redis.call('GET', KEYS[2])
if fence and fence ~= ARGV[4] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local state = redis.call('HGET', KEYS[1], ARGV[1])
if state and string.find(state, '^[ds]') then
  return {'done', state}
end
if KEYS[3] then
  local floor = redis.call('HMGET', KEYS[3], 'epoch', 'target')
  local epoch = floor[1] or '0'
  if epoch ~= ARGV[5] or (ARGV[6] ~= '' and floor[2] and floor[2] ~= ARGV[6]) then
    if state then
      return {'late', now - tonumber(string.sub(state, 2))}
    end
    return {'stale', epoch}
  end
end
local since = state and tonumber(string.sub(state, 2)) or now
local begun = (state and 'u' or 'b') .. string.format('%d', ARGV[3] == '1' and now or since)
redis.call('HSET', KEYS[1], ARGV[1], begun)
redis.call('EXPIRE', KEYS[1], ARGV[2])
if not state then
  return {'new', begun}
end
return {'unsure', now - since}
