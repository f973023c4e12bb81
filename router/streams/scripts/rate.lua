-- Count the entries of the last seconds of a stream.
-- KEYS: the stream.   ARGV: ms that are looked back, maximum number of entries.
-- Returns {number of entries, ms over which they came, number of entries ever added}; if there are more than the
-- maximum, those of a shorter time.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { 0, tonumber(ARGV[1]), 0 }
end
local found = redis.call('XREVRANGE', KEYS[1], '+', string.format('%d', now - tonumber(ARGV[1])), 'COUNT', ARGV[2])
local span = tonumber(ARGV[1])
if #found == tonumber(ARGV[2]) then
  span = math.max(1, now - tonumber(string.match(found[#found][1], '^%d+')))
end
local added, info = 0, redis.call('XINFO', 'STREAM', KEYS[1])
for at = 1, #info, 2 do
  if info[at] == 'entries-added' then
    added = info[at + 1]
  end
end
return { #found, span, added }
