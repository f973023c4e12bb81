-- Remove the shared bodies that no entry refers to any more (router/streams/store/shared_bodies.py).
-- KEYS: the hash of the bodies; then two pairs: a stream, and the sorted set of the bodies that its entries refer to, by
--       the time (ms) of the last such entry.
-- ARGV: the maximum number of names to take from each sorted set in this run.
-- Returns {number of bodies removed, the largest number of names taken from a sorted set}.
local function first_time(stream) -- of the oldest entry; nil if there is none
  local rows = redis.call('EXISTS', stream) == 1 and redis.call('XRANGE', stream, '-', '+', 'COUNT', 1) or {}
  return rows[1] and string.match(rows[1][1], '^%d+')
end

local removed, most = 0, 0
for pair = 2, 4, 2 do
  local set, other = KEYS[pair + 1], KEYS[7 - pair]
  if redis.call('EXISTS', set) == 1 then
    local first = first_time(KEYS[pair])
    local names = redis.call('ZRANGEBYSCORE', set, '-inf', first and '(' .. first or '+inf', 'LIMIT', 0, ARGV[1])
    most = math.max(most, #names)
    for _, name in ipairs(names) do
      redis.call('ZREM', set, name)
      if not redis.call('ZSCORE', other, name) then
        removed = removed + redis.call('HDEL', KEYS[1], name)
        redis.call('HDEL', KEYS[1], name .. ' entries')
      end
    end
  end
end
return { removed, most }
