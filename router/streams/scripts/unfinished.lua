-- Tell which entries are still being worked on, by whichever consumer.
-- KEYS: the stream.   ARGV: group, then entry ids.   Returns those that are pending.
-- Without its group nothing is pending: all comes again then, in the order of the stream.
local pending = {}
for position = 2, #ARGV do
  local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[position], ARGV[position], 1)
  if not found.err and #found > 0 then
    pending[#pending + 1] = ARGV[position]
  end
end
return pending
