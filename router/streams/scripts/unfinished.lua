-- Find the entries that are not finished: pending for whichever consumer, or parked.
-- KEYS: the stream, the order of the group's parked entries (router/streams/store/parking.py).
-- ARGV: group, then entry ids.   Returns the ids that are pending or parked.
-- Both are looked up in one step: an entry that is being parked or brought back is never seen as neither.
-- If the group is lost nothing is pending: then the stream is delivered again, in order.
local unfinished = {}
for position = 2, #ARGV do
  local id = ARGV[position]
  local found = redis.pcall('XPENDING', KEYS[1], ARGV[1], id, id, 1)
  if (not found.err and #found > 0) or redis.call('ZSCORE', KEYS[2], id) then
    unfinished[#unfinished + 1] = id
  end
end
return unfinished
