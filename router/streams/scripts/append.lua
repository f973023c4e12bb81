-- Append inbound entries, each once, naming the entry before it of the same subject. One run appends many events, so
-- that the fixed cost of a command is paid once.
-- KEYS: for each event the inbound stream, the subject's latest entry, the claim of the idempotency key, the claims of
--       its aliases (keys under which another source reports the same event).
-- ARGV: lifetime of the latest entry in seconds; then for each event the number of its keys, the TTL of its claims in
--       seconds, and its fields: source, account, key, subject, received_at, body, replayed (empty if not a replay).
-- Returns for each event the entry id, false for a duplicate (one of its claims existed; the missing ones are added),
-- or an error that concerns this event only.
-- The entry is written before its claims: if XADD fails, nothing is marked as seen that is not in the stream.
local FIELDS = 7

local function append(first, last, at)
  local missing = {}
  for index = first + 2, last do
    if redis.call('EXISTS', KEYS[index]) == 0 then
      missing[#missing + 1] = KEYS[index]
    end
  end
  local id = false
  if #missing == last - first - 1 then
    local before, more = redis.pcall('GET', KEYS[first + 1]), {}
    if type(before) == 'table' then
      return before
    end
    if ARGV[at + 8] ~= '' then
      more = {'replayed', ARGV[at + 8]}
    end
    if before then
      more[#more + 1] = 'after'
      more[#more + 1] = before
    end
    id = redis.pcall('XADD', KEYS[first], '*', 'source', ARGV[at + 2], 'account', ARGV[at + 3], 'key', ARGV[at + 4],
      'subject', ARGV[at + 5], 'received_at', ARGV[at + 6], 'body', ARGV[at + 7], unpack(more))
    if type(id) == 'table' then
      return id
    end
    redis.call('SET', KEYS[first + 1], id, 'EX', ARGV[1])
  end
  for _, claim in ipairs(missing) do
    redis.call('SET', claim, id or 'alias', 'EX', ARGV[at + 1])
  end
  return id
end

local results, first, at = {}, 1, 2
while first <= #KEYS do
  local after = first + tonumber(ARGV[at])
  results[#results + 1] = append(first, after - 1, at)
  first, at = after, at + 2 + FIELDS
end
return results
