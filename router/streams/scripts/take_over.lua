-- Claim pending entries of a consumer, in order, and count its crash for the entries that may have caused it.
-- KEYS: the stream, the group's crash counts (router/streams/consuming/poison_isolation.py).
-- ARGV: group, the new owner, the old owner, minimum idle time in ms, crashes after which an entry is a suspect, the
--       TTL of the counts in seconds, then entry ids.
-- Returns {entry id, fields, crashes} for each entry that was claimed and still exists.
-- Claiming one's own strays counts no crash, nor does claiming what a consumer handed back when it was stopped.
-- The claim keeps the delivery count, which is the number of failures that consumers have survived.
local group, owner, dead, idle = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local suspect_after = tonumber(ARGV[5])
local is_crash = owner ~= dead and redis.call('HEXISTS', KEYS[2], 'left:' .. dead) == 0
local isolated = redis.call('HGET', KEYS[2], 'trial:' .. dead)
local taken = {}
for position = 7, #ARGV do
  local id = ARGV[position]
  if #redis.call('XCLAIM', KEYS[1], group, owner, idle, id, 'JUSTID') > 0 then
    local crashes = tonumber(redis.call('HGET', KEYS[2], id) or 0)
    if is_crash and (crashes < suspect_after or isolated == id) then
      crashes = redis.call('HINCRBY', KEYS[2], id, 1)
      redis.call('EXPIRE', KEYS[2], ARGV[6])
    end
    local found = redis.call('XRANGE', KEYS[1], id, id)
    if #found > 0 then
      taken[#taken + 1] = {id, found[1][2], crashes}
    end
  end
end
return taken
