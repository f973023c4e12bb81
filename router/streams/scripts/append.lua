-- Append inbound entries, each once and behind the one before it of the same subject. Many events are one run: what a
-- command costs at both ends, beside what it does, is then paid once.
-- KEYS: for each event the inbound stream, the subject's latest entry, the claim of the idempotency key, the claims of
--       its aliases (keys under which another source reports the same event).
-- ARGV: life of the latest entry in seconds; then for each event the number of its keys, the number of its fields and
--       values, TTL of its claims in seconds, field, value, ...
-- Returns for each event the entry id, false for a duplicate (any of the claims was there already; the others are made
-- good then), or the error that is its alone.
-- The entry comes first: if XADD fails no claim is made, so nothing is marked seen that is not in the stream.
local function append(stream, latest, claims, ttl, fields)
  local missing = {}
  for _, claim in ipairs(claims) do
    if redis.call('EXISTS', claim) == 0 then
      missing[#missing + 1] = claim
    end
  end
  local id = false
  if #missing == #claims then
    local before = redis.pcall('GET', latest)
    if type(before) == 'table' then
      return before
    end
    if before then
      fields[#fields + 1] = 'after'
      fields[#fields + 1] = before
    end
    id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'table' then
      return id
    end
    redis.call('SET', latest, id, 'EX', ARGV[1])
  end
  for _, claim in ipairs(missing) do
    redis.call('SET', claim, id or 'alias', 'EX', ttl)
  end
  return id
end

local results, key, arg = {}, 1, 2
while key <= #KEYS do
  local keys, values, ttl = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), ARGV[arg + 2]
  local claims = {unpack(KEYS, key + 2, key + keys - 1)}
  local fields = {unpack(ARGV, arg + 3, arg + 2 + values)}
  results[#results + 1] = append(KEYS[key], KEYS[key + 1], claims, ttl, fields)
  key, arg = key + keys, arg + 3 + values
end
return results
