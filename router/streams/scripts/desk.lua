-- The desk: who is present, with how much room, and which conversations wait. The rule is core/routing/choice.py.
-- KEYS: the beginning of the desk's keys, which are in partition 0; the partition's fence.
-- ARGV: the partition's fence value (number of partitions), operation, now in ms, then by operation:
--   present    identity, when they told it, id of the command, card as JSON {name, capacity, skills, channels or null, wrap in ms}, ms until which it holds, '1' if away
--   enroll     cards as JSON, ms until which they hold   people of the roster, for queues that assign without asking
--   leave      identity, when they told it, id of the command      presence ends now
--   settle     conversation, revision, wish as JSON     (see below)
--   last       conversation, addresses of its customer     returns who held a conversation of this customer last, or ''
--   round      limit, lease in ms                    what is due by now: ends wrap-ups; returns agents whose presence has
--                                                    ended, each with its conversations, conversations that got an agent
--                                                    and whose offer is not made yet, and when more is due
--   look       most                                  all agents and needs; above 0 no needs, nor agents if they are more
-- An agent: {name, capacity, skills, channels, wrap, till, away, free, load, idle, has = {conversation = units}}, and
-- `kind`, the name of the set of free agents with the same skills and channels; `profile`, the same while in that set.
-- One who is `enrolled` has never told their presence, and gets only what is assigned without asking.
-- A need: {skills, channel, units, priority, since, agent, last, excluded, missed, queue, automatic}; units 0: all of an
-- agent, automatic: assigned without asking.
-- A conversation has a need while it waits, an `asked` agent once one is found, and a `held` one who holds it; both in a
-- transfer.
local P, now = KEYS[1], tonumber(ARGV[3])
local AGENTS, PRESENCE, RESTING, PROFILES = P .. 'agents', P .. 'presence', P .. 'resting', P .. 'profiles'
local NEEDS, CLASSES, PLACED, REVS = P .. 'needs', P .. 'classes', P .. 'placed', P .. 'revisions'
local HELD, ASKED, SEEN, OVER, TOLD = P .. 'held', P .. 'asked', P .. 'seen', P .. 'over', P .. 'told'
local SHIFT = 4398046511104 -- 2^42, beyond every time in ms until 2109
local LAST = 9007199254740992 -- 2^53, the revision of a conversation whose ledger is gone
local RETURN, MEMORY = 60000, 3600000 -- ms
local LATEST = 20 -- commands of an agent that are remembered
local call = redis.call

local function get(key, name)
  local text = call('HGET', key, name)
  return text and cjson.decode(text)
end
local function put(key, name, record)
  call('HSET', key, name, cjson.encode(record))
end
local function set_of(list)
  local set = {}
  for _, one in ipairs(list or {}) do
    set[one] = true
  end
  return set
end
local function has_all(needed, skills)
  local set = set_of(skills)
  for _, one in ipairs(needed) do
    if not set[one] then
      return false
    end
  end
  return true
end
local function is_list(one)
  return type(one) == 'table'
end
local function takes(channels, channel)
  return not is_list(channels) or set_of(channels)[channel] == true
end

-- Agents.

local function is_free(agent)
  return agent.till > now and not agent.away and agent.free <= now and agent.load < agent.capacity
end
local function unindex(identity, agent)
  if agent.profile then
    local free = P .. 'free:' .. agent.profile
    if call('ZREM', free, identity) == 1 and call('EXISTS', free) == 0 then
      call('HDEL', PROFILES, agent.profile)
    end
    agent.profile = nil
  end
end
-- The name of the set of free agents with these skills and channels, and what its profile is.
local function profile_of(agent)
  local skills = { unpack(agent.skills) }
  table.sort(skills)
  local channels = is_list(agent.channels) and { unpack(agent.channels) } or nil
  if channels then
    table.sort(channels)
  end
  local name = redis.sha1hex(cjson.encode({ skills, channels or 'all', agent.enrolled or false }))
  return name, { skills = skills, channels = channels, enrolled = agent.enrolled }
end
local function store(identity, agent)
  if is_free(agent) then
    agent.kind = agent.kind or profile_of(agent)
    if agent.profile ~= agent.kind then
      unindex(identity, agent)
      agent.profile = agent.kind
    end
    if call('HEXISTS', PROFILES, agent.profile) == 0 then
      local _, profile = profile_of(agent)
      call('HSET', PROFILES, agent.profile, cjson.encode(profile))
    end
    local share = math.floor(agent.load * 1000 / agent.capacity)
    call('ZADD', P .. 'free:' .. agent.profile, string.format('%.0f', share * SHIFT + agent.idle), identity)
  else
    unindex(identity, agent)
  end
  put(AGENTS, identity, agent)
end

local function fits(need, identity, agent)
  if not agent or not is_free(agent) or (agent.enrolled and not need.automatic) then
    return false
  end
  local units = need.units > 0 and need.units or agent.capacity
  return agent.load + units <= agent.capacity and not set_of(need.excluded)[identity]
end

-- Return the agent to be asked for a need; nil if there is none.
local function choose(need)
  if need.agent and need.agent ~= cjson.null then
    local agent = get(AGENTS, need.agent)
    if agent and has_all(need.skills, agent.skills) and takes(agent.channels, need.channel)
      and fits(need, need.agent, agent) then
      return need.agent, agent
    end
    return nil
  end
  local missed, last_choice = set_of(need.missed), nil
  if need.last and need.last ~= cjson.null and not missed[need.last] then
    local agent = get(AGENTS, need.last)
    if agent and has_all(need.skills, agent.skills) and takes(agent.channels, need.channel)
      and fits(need, need.last, agent) then
      return need.last, agent
    end
  end
  local best, best_score, late, late_score
  local profiles = call('HGETALL', PROFILES)
  for at = 1, #profiles, 2 do
    local profile = cjson.decode(profiles[at + 1])
    if has_all(need.skills, profile.skills) and takes(profile.channels, need.channel)
      and (need.automatic or not profile.enrolled) then
      local free, from, searching = P .. 'free:' .. profiles[at], 0, true
      while searching do
        local found = call('ZRANGE', free, from, from + 15, 'WITHSCORES')
        for i = 1, #found, 2 do
          local identity, score = found[i], tonumber(found[i + 1])
          if searching and fits(need, identity, get(AGENTS, identity)) then
            if missed[identity] then
              local is_last = identity == need.last
              if not late or (is_last and late ~= need.last) or (late ~= need.last and (score < late_score
                or (score == late_score and identity < late))) then
                late, late_score = identity, score
              end
            else
              if not best or score < best_score or (score == best_score and identity < best) then
                best, best_score = identity, score
              end
              searching = false
            end
          end
        end
        from = from + 16
        searching = searching and #found == 32
      end
    end
  end
  local chosen = best or late
  return chosen, chosen and get(AGENTS, chosen)
end

-- Waiting conversations.

local function class_of(need)
  local skills = { unpack(need.skills) }
  table.sort(skills)
  local agent = need.agent ~= cjson.null and need.agent or nil
  local class = { skills = skills, channel = need.channel, agent = agent, units = need.units, automatic = need.automatic }
  return redis.sha1hex(cjson.encode({ skills, need.channel, agent or '', need.units, need.automatic or false })), class
end
local function stop_waiting(conversation)
  local need = get(NEEDS, conversation)
  if need then
    local waiting = P .. 'waiting:' .. need.class
    call('ZREM', waiting, conversation)
    if call('EXISTS', waiting) == 0 then
      call('HDEL', CLASSES, need.class)
    end
    call('ZREM', P .. 'queue:' .. need.queue, conversation)
    call('HDEL', NEEDS, conversation)
  end
end
local function wait(conversation, need)
  local name, class = class_of(need)
  need.class = name
  local score = string.format('%.0f', need.since - need.priority * SHIFT)
  call('HSETNX', CLASSES, name, cjson.encode(class))
  call('ZADD', P .. 'waiting:' .. name, score, conversation)
  call('ZADD', P .. 'queue:' .. need.queue, score, conversation)
  put(NEEDS, conversation, need)
end

-- The caller stores the agent.
local function occupy(places, conversation, identity, agent, units)
  units = units > 0 and units or agent.capacity
  agent.has[conversation] = units
  agent.load = agent.load + units
  call('HSET', places, conversation, identity)
end

-- Note that a conversation which waited found an agent: a mean of the time between two of a queue, recent ones first.
local function note_pace(queue)
  local known = get(P .. 'paces', queue)
  local since = known and math.min(now - known.at, 600000) or 0
  local pace = known and (known.pace > 0 and known.pace * 0.8 + since * 0.2 or since) or 0
  put(P .. 'paces', queue, { at = now, pace = pace })
end

-- Give an agent the conversations that wait for such a one, while there is room; then store the agent.
local function serve(identity, agent)
  while is_free(agent) do
    local best, best_score
    local classes = call('HGETALL', CLASSES)
    for at = 1, #classes, 2 do
      local class = cjson.decode(classes[at + 1])
      local units = class.units > 0 and class.units or agent.capacity
      if (not class.agent or class.agent == identity) and has_all(class.skills, agent.skills)
        and takes(agent.channels, class.channel) and agent.load + units <= agent.capacity
        and (class.automatic or not agent.enrolled) then
        local waiting, from, searching = P .. 'waiting:' .. classes[at], 0, true
        while searching do
          local found = call('ZRANGE', waiting, from, from + 15, 'WITHSCORES')
          for i = 1, #found, 2 do
            local name, score = found[i], tonumber(found[i + 1])
            if searching and not set_of(get(NEEDS, name).excluded)[identity] then
              searching = false
              if not best or score < best_score or (score == best_score and name < best) then
                best, best_score = name, score
              end
            end
          end
          from = from + 16
          searching = searching and #found == 32
        end
      end
    end
    if not best then
      break
    end
    local need = get(NEEDS, best)
    stop_waiting(best)
    note_pace(need.queue)
    occupy(ASKED, best, identity, agent, need.units)
    call('ZADD', PLACED, now, best)
  end
  store(identity, agent)
end

-- Free the agent who has a conversation in `places`, after a wrap-up if they have held it.
local function vacate(places, conversation, has_held)
  local identity = call('HGET', places, conversation)
  if not identity then
    return
  end
  call('HDEL', places, conversation)
  local agent = get(AGENTS, identity)
  if agent and agent.has[conversation] then
    agent.load = agent.load - agent.has[conversation]
    agent.has[conversation], agent.idle = nil, now
    if has_held and agent.wrap > 0 then
      agent.free = now + agent.wrap
      call('ZADD', RESTING, agent.free, identity)
    end
    serve(identity, agent)
  end
end

-- The key of who held a conversation of a customer last, by account and address; it expires.
local function last_of(conversation, address)
  return P .. 'last:' .. redis.sha1hex(string.match(conversation, '^%S+') .. ' ' .. address)
end

local operations = {}

function operations.last(conversation, ...)
  for _, address in ipairs({ ... }) do
    local agent = call('GET', last_of(conversation, address))
    if agent then
      return agent
    end
  end
  return ''
end

local function note_card(identity, fresh, till, away, enrolled)
  local agent = get(AGENTS, identity) or { load = 0, idle = now, free = 0, has = {}, till = 0 }
  unindex(identity, agent)
  if agent.till <= now and agent.load == 0 then
    agent.idle = now
  end
  agent.kind = nil
  agent.name, agent.capacity, agent.skills, agent.channels = fresh.name, fresh.capacity, fresh.skills, fresh.channels
  agent.till, agent.away, agent.wrap, agent.enrolled = tonumber(till), away, fresh.wrap, enrolled
  call('ZADD', PRESENCE, till, identity)
  serve(identity, agent)
end

-- Note when somebody told their presence, and by which command. Returns false if they have told something newer (a
-- process died before it acknowledged the older one, which came again), or this is one of their last commands (it was
-- written twice, or passed on twice).
local function is_news(identity, sent, id)
  local told, name = call('HGET', TOLD, identity) or '', string.sub(redis.sha1hex(id), 1, 16) .. ' '
  if tonumber(call('HGET', SEEN, identity) or '0') > tonumber(sent) or (id ~= '' and string.find(told, name, 1, true)) then
    return false
  end
  call('HSET', SEEN, identity, sent)
  call('HSET', TOLD, identity, string.sub(name .. told, 1, LATEST * #name))
  return true
end

function operations.present(identity, sent, id, card, till, away)
  if not is_news(identity, sent, id) then
    return call('ZCARD', PLACED)
  end
  note_card(identity, cjson.decode(card), till, away == '1', nil)
  return call('ZCARD', PLACED)
end

-- Those who are enrolled no longer keep what they have, and get nothing new.
function operations.enroll(cards, till)
  local listed = {}
  for _, card in ipairs(cjson.decode(cards)) do
    listed[card.identity] = true
    if call('HEXISTS', SEEN, card.identity) == 0 then
      note_card(card.identity, card, till, false, true)
    end
  end
  for _, identity in ipairs(call('HKEYS', AGENTS)) do
    local agent = get(AGENTS, identity)
    if agent.enrolled and not listed[identity] then
      agent.away = true
      store(identity, agent)
    end
  end
  return call('ZCARD', PLACED)
end

-- Of an agent who is no longer listed: the presence of one who has conversations goes on, without new ones.
function operations.keep(identity, till)
  local agent = get(AGENTS, identity)
  if not agent or not next(agent.has) then
    return 0
  end
  agent.till, agent.away = tonumber(till), true
  call('ZADD', PRESENCE, till, identity)
  store(identity, agent)
  return 1
end

function operations.leave(identity, sent, id)
  local agent = is_news(identity, sent, id) and get(AGENTS, identity)
  if not agent then
    return 0
  end
  agent.till = 0
  call('ZADD', PRESENCE, 0, identity)
  store(identity, agent)
  return 1
end

-- Make the desk agree with the conversation at `rev`. A wish: {holder, asked, need, units, is_over, customer, life}: who
-- holds, who is asked, what it needs while nobody is, the units that it takes, whether nothing more will come, and the
-- customer's addresses, by which the holder is remembered for `life` seconds. Repeatable. What an older revision wished is replaced, and an older wish is refused.
-- Returns {'older'}, {'lost'}: the one who is asked has no place here, {'placed', agent, name, number
-- of agents}, {'waiting', place in line, ms from one placement of its queue to the next or 0} or {'settled'}.
function operations.settle(conversation, rev, text)
  local wish, known = cjson.decode(text), tonumber(call('HGET', REVS, conversation) or '-1')
  if known > tonumber(rev) then
    return { 'older' }
  end
  if tonumber(rev) >= LAST then -- its ledger is gone, and another would begin with low revisions
    call('HDEL', REVS, conversation)
  else
    call('HSET', REVS, conversation, rev)
  end
  if wish.is_over then
    call('ZADD', OVER, now, conversation) -- for a while: an older wish may still come
  else
    call('ZREM', OVER, conversation)
  end
  stop_waiting(conversation)
  local holder, asked = wish.holder, wish.asked
  local has, is_asked = call('HGET', HELD, conversation), call('HGET', ASKED, conversation)
  if has and has ~= holder then
    vacate(HELD, conversation, true)
  end
  if holder and has ~= holder then
    for _, address in ipairs(wish.customer or {}) do
      call('SET', last_of(conversation, address), holder, 'EX', wish.life)
    end
    if is_asked == holder then
      call('HDEL', ASKED, conversation)
      call('ZREM', PLACED, conversation)
      call('HSET', HELD, conversation, holder)
      is_asked = false
    else
      -- One who is not known here, as after a loss of data, has the time of a heartbeat to come back.
      local agent = get(AGENTS, holder)
      if not agent then
        agent = { load = 0, idle = now, free = 0, has = {}, till = 0, name = holder, capacity = 1, skills = {}, away = false, wrap = 0 }
        call('ZADD', PRESENCE, now + RETURN, holder)
      end
      occupy(HELD, conversation, holder, agent, wish.units)
      store(holder, agent)
    end
  end
  if asked then
    call('ZREM', PLACED, conversation)
    return { is_asked == asked and 'settled' or 'lost' }
  end
  local need = wish.need
  local agent = is_asked and get(AGENTS, is_asked)
  local stays = need and agent and agent.till > now and not set_of(need.excluded)[is_asked]
  -- One who has let an offer of this request expire is asked again only if nobody else is there, and when it is the
  -- turn of this conversation: others that wait come before.
  if stays and set_of(need.missed)[is_asked] then
    local other = call('ZSCORE', PLACED, conversation) and (choose(need) or is_asked)
    stays = other and set_of(need.missed)[other]
  end
  if is_asked and not stays then
    vacate(ASKED, conversation, false)
    call('ZREM', PLACED, conversation)
    is_asked = false
  end
  if not need then
    return { 'settled' }
  end
  if is_asked then
    return { 'placed', is_asked, agent.name, call('HLEN', AGENTS) }
  end
  local identity
  identity, agent = choose(need)
  if not identity then
    wait(conversation, need)
    local pace = call('HGET', P .. 'paces', need.queue)
    pace = pace and math.floor(cjson.decode(pace).pace) or 0
    return { 'waiting', call('ZRANK', P .. 'queue:' .. need.queue, conversation) + 1, pace }
  end
  occupy(ASKED, conversation, identity, agent, need.units)
  store(identity, agent)
  call('ZADD', PLACED, now, conversation)
  return { 'placed', identity, agent.name, call('HLEN', AGENTS) }
end

local function take_lapsed(limit, lease)
  local results = {}
  for _, identity in ipairs(call('ZRANGEBYSCORE', PRESENCE, '-inf', now, 'LIMIT', 0, limit)) do
    local agent = get(AGENTS, identity)
    if agent then
      store(identity, agent) -- no longer among the free ones
    end
    if agent and next(agent.has) then
      call('ZADD', PRESENCE, now + tonumber(lease), identity)
      local row = { identity }
      for conversation in pairs(agent.has) do
        row[#row + 1] = conversation
      end
      results[#results + 1] = row
    else
      call('ZREM', PRESENCE, identity)
      call('ZREM', RESTING, identity)
      call('HDEL', AGENTS, identity)
    end
  end
  return results
end

local function take_placed(limit, lease)
  local found = call('ZRANGEBYSCORE', PLACED, '-inf', now, 'LIMIT', 0, limit)
  for _, conversation in ipairs(found) do
    call('ZADD', PLACED, now + tonumber(lease), conversation)
  end
  return found
end

local function end_wrap_ups(limit)
  local found = call('ZRANGEBYSCORE', RESTING, '-inf', now, 'LIMIT', 0, limit)
  for _, identity in ipairs(found) do
    call('ZREM', RESTING, identity)
    local agent = get(AGENTS, identity)
    if agent then
      serve(identity, agent)
    end
  end
end

function operations.round(limit, lease)
  end_wrap_ups(limit)
  for _, conversation in ipairs(call('ZRANGEBYSCORE', OVER, '-inf', now - MEMORY, 'LIMIT', 0, limit)) do
    call('ZREM', OVER, conversation)
    call('HDEL', REVS, conversation)
  end
  local lapsed, placed, due = take_lapsed(limit, lease), take_placed(limit, lease), nil
  for _, set in ipairs({ RESTING, PRESENCE, PLACED }) do
    local first = tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2])
    due = first and math.min(first, due or first) or due
  end
  return { lapsed, placed, due and string.format('%.0f', due) or '' }
end

function operations.look(most)
  if tonumber(most) > 0 then
    return { call('HLEN', AGENTS) <= tonumber(most) and call('HGETALL', AGENTS) or {}, {} }
  end
  return { call('HGETALL', AGENTS), call('HGETALL', NEEDS) }
end

local fence = redis.call('GET', KEYS[2])
if fence and fence ~= ARGV[1] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
return operations[ARGV[2]](unpack(ARGV, 4))
