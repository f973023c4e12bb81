-- Return the time of the server that has a key, in microseconds since 1970.
-- KEYS: any key. In a Cluster it says whose time is meant; TIME itself has no key.
local clock = redis.call('TIME')
return tonumber(clock[1]) * 1000000 + tonumber(clock[2])
