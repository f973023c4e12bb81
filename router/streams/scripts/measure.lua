-- Measure a stream.
-- KEYS: the stream, and further keys with data that its entries refer to.
-- ARGV: the number of nodes of a key that are looked at; of a larger key the size is estimated.
-- Returns {number of entries, bytes of all keys}.
local size = 0
for _, key in ipairs(KEYS) do
  size = size + (redis.call('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[1]) or 0)
end
return { redis.call('XLEN', KEYS[1]), size }
