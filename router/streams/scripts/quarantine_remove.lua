-- Remove a webhook from the quarantine, with its digest, repeats and size.
-- KEYS: the quarantine stream; hash digest -> id; hash id -> repeats; hash order list -> bytes; sorted set of our
--       accounts' ids; its class' order list.
-- ARGV: its id, size and digest.
-- Returns the number of entries removed: 0 if it was gone.
local removed = redis.call('XDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
if redis.call('LREM', KEYS[6], 1, ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]) == 1 then
  redis.call('HDEL', KEYS[2], ARGV[3])
  redis.call('HDEL', KEYS[3], ARGV[1])
  redis.call('HINCRBY', KEYS[4], KEYS[6], '-' .. ARGV[2])
end
return removed
