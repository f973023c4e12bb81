-- Claim pending entries of a consumer, in order, and count its death for those that it may have died of.
-- KEYS: the stream, the deaths of its group (router/streams/consuming/poison_isolation.py).
-- ARGV: group, the new owner, the old one, the least idle time in ms, the deaths after which an entry is on trial,
--       the hash's TTL in seconds, then entry ids.
-- Returns {entry id, fields, deaths} for each entry that is ours now and still exists.
-- Taking up our own strays is no death, and neither is what a consumer handed back when it was told to stop.
-- The claim keeps the delivery count, which is the number of failures that a consumer has lived through.
local group, owner, dead, idle = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local free = tonumber(ARGV[5])
local is_death = owner ~= dead and redis.call('HEXISTS', KEYS[2], 'left:' .. dead) == 0
local on_trial = redis.call('HGET', KEYS[2], 'trial:' .. dead)
local taken = {}
for position = 7, #ARGV do
  local id = ARGV[position]
  if #redis.call('XCLAIM', KEYS[1], group, owner, idle, id, 'JUSTID') > 0 then
    local deaths = tonumber(redis.call('HGET', KEYS[2], id) or 0)
    if is_death and (deaths < free or on_trial == id) then
      deaths = redis.call('HINCRBY', KEYS[2], id, 1)
      redis.call('EXPIRE', KEYS[2], ARGV[6])
    end
    local found = redis.call('XRANGE', KEYS[1], id, id)
    if #found > 0 then
      taken[#taken + 1] = {id, found[1][2], deaths}
    end
  end
end
return taken
