-- Every change of the assignments: conversations and their people, waiting conversations, pending joins.
-- KEYS: conversations (hash), load (hash), waiting, joining, checked (sorted sets), then for enter, leave and close
--       the conversation's "gone" key, and for enter and leave also the customer's (strings).
-- ARGV: operation, now in ms, the roster as JSON [{identity, capacity, card}, ...] in its order, then by operation:
--   enter    conversation, record as JSON, customer, channel, entry's time in ms, lease in ms, life of "gone" in s
--   leave    conversation, customer, entry's time in ms, life of "gone" in s
--   close    conversation, life of "gone" in s
--   place    (nothing)
--   due      limit, lease in ms
--   settled  conversation, agent
--   stale    limit, age in ms
-- A record: {account, conversation, customers = {participant id = channel}, agent, card}; agent and card once assigned.
-- A conversation without an agent is in waiting, scored by the time since which it waits. One whose agent has not joined
-- is in joining, scored by the time from which any process may do the join.
local CONVERSATIONS, LOAD, WAITING, JOINING, CHECKED = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now = tonumber(ARGV[2])

local function read(conversation)
  local text = redis.call('HGET', CONVERSATIONS, conversation)
  return text and cjson.decode(text)
end

local function write(conversation, record)
  redis.call('HSET', CONVERSATIONS, conversation, cjson.encode(record))
end

-- The least busy agent below capacity, by the roster's order if equal; nil if there is none.
local function choose(roster, loads)
  local best
  for _, agent in ipairs(roster) do
    local load = loads[agent.identity]
    if load < agent.capacity and (not best or load < loads[best.identity]) then
      best = agent
    end
  end
  return best
end

-- Assign waiting conversations, the longest waiting first, while there is capacity; returns how many were assigned.
local function place()
  if redis.call('ZCARD', WAITING) == 0 then
    return 0
  end
  local roster, loads, placed = cjson.decode(ARGV[3]), {}, 0
  for _, agent in ipairs(roster) do
    loads[agent.identity] = tonumber(redis.call('HGET', LOAD, agent.identity) or '0')
  end
  while true do
    local conversation = redis.call('ZRANGE', WAITING, 0, 0)[1]
    local agent = conversation and choose(roster, loads)
    if not agent then
      return placed
    end
    local record = read(conversation)
    redis.call('ZREM', WAITING, conversation)
    if record then
      record.agent, record.card = agent.identity, agent.card
      write(conversation, record)
      loads[agent.identity] = redis.call('HINCRBY', LOAD, agent.identity, 1)
      redis.call('ZADD', JOINING, now, conversation)
      placed = placed + 1
    end
  end
end

-- Remove a conversation and free its agent, and assign waiting conversations.
local function drop(conversation, record)
  redis.call('HDEL', CONVERSATIONS, conversation)
  for _, set in ipairs({ WAITING, JOINING, CHECKED }) do
    redis.call('ZREM', set, conversation)
  end
  if record.agent and redis.call('HINCRBY', LOAD, record.agent, -1) <= 0 then
    redis.call('HDEL', LOAD, record.agent)
  end
  return { 'released', record.agent or '', place() }
end

local operations = {}

function operations.enter(conversation, fresh, customer, channel, time, lease)
  if redis.call('EXISTS', KEYS[6]) == 1 then
    return { 'closed' }
  end
  if tonumber(redis.call('GET', KEYS[7]) or '0') > tonumber(time) then
    return { 'left' }
  end
  local record = read(conversation) or cjson.decode(fresh)
  record.customers[customer] = channel
  write(conversation, record)
  redis.call('ZADD', CHECKED, 'NX', now, conversation)
  if not record.agent then
    redis.call('ZADD', WAITING, 'NX', now, conversation)
  end
  local placed = place()
  record = read(conversation)
  if not record.agent then
    return { 'waiting', placed }
  end
  redis.call('ZADD', JOINING, now + tonumber(lease), conversation)
  return { 'assigned', placed, record.agent, record.card }
end

function operations.leave(conversation, customer, time, life)
  redis.call('SET', KEYS[7], time, 'EX', life)
  local record = read(conversation)
  if not record or not record.customers[customer] then
    return { 'unknown' }
  end
  record.customers[customer] = nil
  if next(record.customers) then
    write(conversation, record)
    return { 'kept', record.agent or '' }
  end
  return drop(conversation, record)
end

function operations.close(conversation, life)
  redis.call('SET', KEYS[6], '1', 'EX', life)
  local record = read(conversation)
  return record and drop(conversation, record) or { 'unknown' }
end

function operations.place()
  return { 'placed', place() }
end

function operations.due(limit, lease)
  local records = {}
  for _, conversation in ipairs(redis.call('ZRANGEBYSCORE', JOINING, '-inf', now, 'LIMIT', 0, limit)) do
    local text = redis.call('HGET', CONVERSATIONS, conversation)
    if text then
      redis.call('ZADD', JOINING, now + tonumber(lease), conversation)
      records[#records + 1] = text
    else
      redis.call('ZREM', JOINING, conversation)
    end
  end
  return records
end

function operations.settled(conversation, agent)
  local record = read(conversation)
  if record and record.agent == agent then
    redis.call('ZREM', JOINING, conversation)
  end
  return { 'settled' }
end

function operations.stale(limit, age)
  local records = {}
  for _, conversation in ipairs(redis.call('ZRANGEBYSCORE', CHECKED, '-inf', now - tonumber(age), 'LIMIT', 0, limit)) do
    redis.call('ZADD', CHECKED, now, conversation)
    records[#records + 1] = redis.call('HGET', CONVERSATIONS, conversation)
  end
  return records
end

return operations[ARGV[1]](unpack(ARGV, 4))
