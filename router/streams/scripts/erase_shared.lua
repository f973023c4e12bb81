-- Remove bodies that several inbound entries shared, whose entries are erased (router/streams/store/shared_bodies.py).
-- KEYS: the hash of the bodies, and the sorted sets of those that inbound entries and dead letters refer to.
-- ARGV: the names of the bodies.
-- Returns the number of bodies removed.
local removed = 0
for _, name in ipairs(ARGV) do
  removed = removed + redis.call('HDEL', KEYS[1], name)
  redis.call('HDEL', KEYS[1], name .. ' entries')
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
end
return removed
