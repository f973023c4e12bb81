-- Keep a refused webhook, once, within the bounds of its class: its reason, or the large ones of that reason.
-- KEYS: the quarantine stream; hash digest -> id; hash id -> repeats; hash order list -> bytes; sorted set of our
--       accounts' ids by time; then the order lists of all classes, the webhook's own first. All are in the stream's
--       slot.
-- ARGV: now (ms), TTL (s), maximum number and maximum bytes of the class' entries, digest, size, 1 if it is of an
--       account of ours, ms and maximum number of the sorted set, then field, value, ...
-- Returns the new entry's id, or false for a repeat, which is counted.
-- An order list has "<id> <size> <digest>" for each entry of its class, oldest first. All keys get the TTL together,
-- so none outlives another; entries older than the TTL are removed one by one.
local stream, known, repeats, bytes, ours, own = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local oldest = tonumber(ARGV[1]) - tonumber(ARGV[2]) * 1000

local function drop(order)
  local id, size, digest = string.match(redis.call('LPOP', order), '^(%S+) (%d+) (%S+)$')
  redis.call('XDEL', stream, id)
  redis.call('HDEL', known, digest)
  redis.call('HDEL', repeats, id)
  redis.call('HINCRBY', bytes, order, -size)
end

local function begins_before(order, time)
  local first = redis.call('LINDEX', order, 0)
  return first and tonumber(string.match(first, '^(%d+)')) < time
end

for index = 6, #KEYS do
  while begins_before(KEYS[index], oldest) do
    drop(KEYS[index])
  end
end

local id = redis.call('HGET', known, ARGV[5])
local is_repeat = id and #redis.call('XRANGE', stream, id, id) == 1
if is_repeat then
  redis.call('HINCRBY', repeats, id, 1)
else
  id = redis.call('XADD', stream, '*', unpack(ARGV, 10))
  redis.call('HSET', known, ARGV[5], id)
  redis.call('RPUSH', own, id .. ' ' .. ARGV[6] .. ' ' .. ARGV[5])
  redis.call('HINCRBY', bytes, own, ARGV[6])
  if ARGV[7] == '1' then
    redis.call('ZADD', ours, ARGV[1], id)
  end
  while redis.call('LLEN', own) > tonumber(ARGV[3])
    or (tonumber(redis.call('HGET', bytes, own)) > tonumber(ARGV[4]) and redis.call('LLEN', own) > 1) do
    drop(own)
  end
end
redis.call('ZREMRANGEBYSCORE', ours, '-inf', tonumber(ARGV[1]) - tonumber(ARGV[8]))
redis.call('ZREMRANGEBYRANK', ours, 0, -1 - tonumber(ARGV[9]))
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[2])
end
return not is_repeat and id
