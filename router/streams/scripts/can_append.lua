-- Find out whether inbound entries can be appended now, without writing anything.
-- KEYS: the partition's fence, a key that does not exist. ARGV: number of partitions.
-- Returns true; FENCED as append does, and whatever else Redis says to a write: read-only, out of memory, too few
-- replicas.
local fence = redis.call('GET', KEYS[1])
if fence and fence ~= ARGV[1] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
redis.call('XADD', KEYS[2], 'NOMKSTREAM', '*', 'probe', '')
return 1
