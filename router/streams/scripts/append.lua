-- Append inbound entries, each once, naming the entry before it of the same subject. One run appends many events, so
-- that the fixed cost of a command is paid once.
-- KEYS: the partition's fence; if events share bodies, the hash of the shared bodies and the set of those that inbound
--       entries refer to; then for each event the inbound stream, the subject's latest entry, the claim of the
--       idempotency key, the claims of its aliases (keys under which another source reports the same event).
-- ARGV: lifetime of the latest entry in seconds; the entries' format; number of partitions; the number of shared bodies,
--       and name and content of each; then for each event the number of its keys, the TTL of its claims in seconds, its
--       fields: source, account, key, subject, received_at, body, replayed (empty if not a replay), its subject's
--       checksum (core.keys), by which a claim can be moved to another partition, and the position of its shared body
--       (0: none).
-- Returns for each event the entry id, false for a duplicate (one of its claims existed; the missing ones are added),
-- or an error that concerns this event only. An error FENCED concerns all: the partitions are being moved, or their
-- number is another one by now.
-- The entry is written before its claims: if XADD fails, nothing is marked as seen that is not in the stream. A shared
-- body is written before the entries that refer to it.
local VALUES = 11
local fence = redis.call('GET', KEYS[1])
if fence and fence ~= ARGV[3] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
local shared, at = {}, 5
for number = 1, tonumber(ARGV[4]) do
  shared[number], at = { ARGV[at], ARGV[at + 1] }, at + 2
end
local first = #shared > 0 and 4 or 2

local function append(last)
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
      more = { 'replayed', ARGV[at + 8] }
    end
    if before then
      more[#more + 1] = 'after'
      more[#more + 1] = before
    end
    local body, stored = shared[tonumber(ARGV[at + 10])], 0
    if body then
      stored = redis.pcall('HSETNX', KEYS[2], body[1], body[2])
      if type(stored) == 'table' then
        return stored
      end
      more[#more + 1] = 'shared'
      more[#more + 1] = body[1]
    end
    id = redis.pcall('XADD', KEYS[first], '*', 'format', ARGV[2], 'source', ARGV[at + 2], 'account', ARGV[at + 3],
      'key', ARGV[at + 4], 'subject', ARGV[at + 5], 'received_at', ARGV[at + 6], 'body', ARGV[at + 7], unpack(more))
    if type(id) == 'table' then
      if stored == 1 then
        redis.call('HDEL', KEYS[2], body[1])
      end
      return id
    end
    if body then
      redis.call('ZADD', KEYS[3], 'GT', string.match(id, '^%d+'), body[1])
      local count = body[1] .. ' entries'
      if stored == 1 then
        redis.call('HSET', KEYS[2], count, 1)
      elseif redis.call('HEXISTS', KEYS[2], count) == 1 then
        redis.call('HINCRBY', KEYS[2], count, 1)
      end
    end
    redis.call('SET', KEYS[first + 1], id, 'EX', ARGV[1])
  end
  for _, claim in ipairs(missing) do
    redis.call('SET', claim, (id or 'alias') .. ' ' .. ARGV[at + 9], 'EX', ARGV[at + 1])
  end
  return id
end

local results = {}
while first <= #KEYS do
  local after = first + tonumber(ARGV[at])
  results[#results + 1] = append(after - 1)
  first, at = after, at + VALUES
end
return results
