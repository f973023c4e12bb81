-- Find the entries that are still pending, for whichever consumer.
-- KEYS: the stream.   ARGV: group, then entry ids.   Returns the ids that are pending.
-- If the group is lost nothing is pending: then the stream is delivered again, in order.
local pending = {}
for position = 2, #ARGV do
  local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[position], ARGV[position], 1)
  if not found.err and #found > 0 then
    pending[#pending + 1] = ARGV[position]
  end
end
return pending
