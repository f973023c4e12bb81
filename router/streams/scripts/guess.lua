-- Count an attempt to sign in before it is made, unless a pause is under way.
-- KEYS: hashes of what is limited (an address, a user).
-- ARGV: per key the attempts that are free; then ms of the first pause, ms of the longest, ms for which all is kept.
-- Returns 0 if the attempt may be made, else the ms to wait.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local wait = 0
for _, key in ipairs(KEYS) do
  wait = math.max(wait, tonumber(redis.call('HGET', key, 'until') or '0') - now)
end
if wait > 0 then
  return wait
end
local first, longest, kept = tonumber(ARGV[#KEYS + 1]), tonumber(ARGV[#KEYS + 2]), tonumber(ARGV[#KEYS + 3])
for at, key in ipairs(KEYS) do
  local over = redis.call('HINCRBY', key, 'attempts', 1) - tonumber(ARGV[at])
  if over > 0 then
    local pause = math.min(longest, first * 2 ^ math.min(over - 1, 30))
    redis.call('HSET', key, 'until', string.format('%.0f', now + pause))
  end
  redis.call('PEXPIRE', key, kept)
end
return 0
