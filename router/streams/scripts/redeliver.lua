-- Raise the delivery count of an entry that belongs to this consumer, or set it back to one.
-- KEYS: the stream.   ARGV: group, consumer, entry id, '1' to raise the count or '0' to set it back.
-- Returns the delivery count, or false if the entry belongs to another consumer by now, or to none.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if #pending == 0 or pending[1][2] ~= ARGV[2] then
  return false
end
local count = 1
if ARGV[4] == '1' then
  count = pending[1][4] + 1
end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', count, 'JUSTID')
return count
