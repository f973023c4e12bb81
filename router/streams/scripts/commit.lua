-- Commit the changes of one or more conversations, each only if its revision is still the one that was read.
-- KEYS: the partition's fence; the streams; if conversations are noted for the reconciler, the sets of active conversations and of their
--       sweeps; then for each conversation its hash and the claims of its entries.
-- ARGV: number of partitions; for each conversation: index of its hash in KEYS, revision that was read, TTL in seconds,
--       number of sets, (field, value)..., number of removals, field...,
--       number of entries, (index of the stream in KEYS, type, id, event,
--                           lifetime of its claims in seconds, their value, their number, index of each in KEYS...)...,
--       and to note it: index of the set of active conversations in KEYS (0: do not note), its name, the time, the time
--       of its sweep if it is new or doubtful (both in ms), the lifetime of the sets in seconds, 1 if it is doubtful,
--       and if it has a timer: index of the partition's timers in KEYS (0: it has none), its name, when its floor must be
--       looked at (ms, '' if it need not), number of entries that are part of a turn, (id, line of the turn)..., and if
--       there are any: when the turn is ready if nothing follows (ms), how long a turn may last (ms), and its most bytes,
--       and for its journal: index of it in KEYS (0: nothing to note), lifetime in seconds, most lines, number of lines,
--       line....
-- Returns for each conversation the ids of the entries that were left out because one of their claims existed; nil if
-- the revision differs: then nothing of the conversation was changed. Entries alone do not change the revision.
-- An entry that was left out is in no turn. A timer is never put off here: one that comes too early changes nothing.
-- A claim with the value '2' is certain: it replaces the value of one that exists.
-- An index of a claim is negative if several entries share it. Its value is then '3', which leaves out no entry that
-- shares it, and is not replaced. Any other value does: another source has reported one of these entries; that was it.
-- An error ends the whole run. Conversations before it are committed; repeating them changes nothing. FENCED: nothing
-- is committed, as the partitions are being moved, or their number is another one by now.
local fence = redis.call('GET', KEYS[1])
if fence and fence ~= ARGV[1] then
  return redis.error_reply('FENCED the partitions are being moved, or their number has changed')
end
local at = 1
local function take()
  at = at + 1
  return ARGV[at]
end
local function take_list(width)
  local first = at + 1
  local list = {}
  at = first + width * tonumber(ARGV[first])
  for position = first + 1, at do
    list[position - first] = ARGV[position]
  end
  return list
end
local function publish(is_ours, repeated)
  local stream, kind, id, event, life, value = KEYS[tonumber(take())], take(), take(), take(), take(), take()
  local claims = take_list(1)
  if not is_ours then
    return
  end
  local is_new = true
  for _, claim in ipairs(claims) do
    local index = tonumber(claim)
    if index > 0 then
      is_new = is_new and redis.call('EXISTS', KEYS[index]) == 0
    else
      is_new = is_new and (redis.call('GET', KEYS[-index]) or '3') == '3'
    end
  end
  if is_new then
    redis.call('XADD', stream, '*', 'type', kind, 'id', id, 'event', event)
  else
    repeated[#repeated + 1] = id
  end
  for _, claim in ipairs(claims) do -- after the entry: if XADD fails, a retry must not find the claims
    local index = tonumber(claim)
    if index < 0 then
      redis.call('SET', KEYS[-index], '3', 'EX', life)
    elseif value == '2' and redis.call('GET', KEYS[index]) ~= '3' then
      redis.call('SET', KEYS[index], value, 'EX', life)
    else
      redis.call('SET', KEYS[index], value, 'NX', 'EX', life)
    end
  end
end
local function shrink(hash) -- after a long value a hash takes twice the memory until it is written anew
  if redis.call('HLEN', hash) > 128 then
    return
  end
  local fields = redis.call('HGETALL', hash)
  for _, text in ipairs(fields) do
    if #text > 64 then
      return
    end
  end
  redis.call('DEL', hash)
  redis.call('HSET', hash, unpack(fields))
end
local function change(hash, life, sets, removals, revision)
  sets[#sets + 1], sets[#sets + 2] = 'rev', string.format('%d', revision + 1)
  for first = 1, #sets, 1000 do -- unpack fails with several thousand values
    redis.call('HSET', hash, unpack(sets, first, math.min(first + 999, #sets)))
  end
  for first = 1, #removals, 1000 do
    redis.call('HDEL', hash, unpack(removals, first, math.min(first + 999, #removals)))
  end
  for _, name in ipairs(removals) do
    if name == 'turn' then
      shrink(hash)
    end
  end
  redis.call('EXPIRE', hash, life)
end
local function note(active, sweeps, name, now, due, life, is_doubtful)
  if redis.call('ZADD', active, now, name) == 1 or is_doubtful == '1' then
    redis.call('ZADD', sweeps, 'LT', due, name)
    redis.call('EXPIRE', active, life)
    redis.call('EXPIRE', sweeps, life)
  end
end
local function hear(hash, heard, repeated) -- returns the open turn, nil if nothing of it is new
  local turn, is_new = redis.call('HGET', hash, 'turn') or '', false
  for first = 1, #heard, 2 do
    local is_repeated = false
    for _, id in ipairs(repeated) do
      is_repeated = is_repeated or id == heard[first]
    end
    if not is_repeated then
      turn, is_new = turn .. heard[first + 1], true
    end
  end
  return is_new and turn
end
local function set_timers(hash, life, timers, is_ours, has_changed, repeated, revision)
  local name, due, heard = take(), take(), take_list(2)
  local times = {}
  if due ~= '' then
    times[1] = tonumber(due)
  end
  if #heard > 0 then
    local ready, most, most_bytes = tonumber(take()), tonumber(take()), tonumber(take())
    local turn = is_ours and hear(hash, heard, repeated)
    if turn then
      if has_changed then
        redis.call('HSET', hash, 'turn', turn)
      else
        change(hash, life, { 'turn', turn }, {}, revision)
      end
      local began = tonumber(string.match(turn, '^%d+'))
      times[#times + 1] = #turn < most_bytes and math.min(ready, began + most) or 0
    end
  end
  if is_ours and #times > 0 then
    redis.call('ZADD', timers, 'LT', math.min(unpack(times)), name)
  end
end
local results = {}
while at < #ARGV do
  local hash, revision, life = KEYS[tonumber(take())], take(), take()
  local sets, removals = take_list(2), take_list(1)
  local is_ours = (redis.call('HGET', hash, 'rev') or '0') == revision
  local repeated = {}
  for _ = 1, tonumber(take()) do
    publish(is_ours, repeated)
  end
  local has_changed = #sets + #removals > 0
  if is_ours and has_changed then
    change(hash, life, sets, removals, revision)
  end
  local active = tonumber(take())
  if active > 0 then
    local name, now, due, sets_life, is_doubtful = take(), take(), take(), take(), take()
    if is_ours then
      note(KEYS[active], KEYS[active + 1], name, now, due, sets_life, is_doubtful)
    end
  end
  local timers = tonumber(take())
  if timers > 0 then
    set_timers(hash, life, KEYS[timers], is_ours, has_changed, repeated, revision)
  end
  local journal = tonumber(take())
  if journal > 0 then
    local lifetime, most, lines = take(), tonumber(take()), take_list(1)
    if is_ours then
      redis.call('RPUSH', KEYS[journal], unpack(lines))
      redis.call('LTRIM', KEYS[journal], -most, -1)
      redis.call('EXPIRE', KEYS[journal], lifetime)
    end
  end
  results[#results + 1] = is_ours and repeated
end
return results
