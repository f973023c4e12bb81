-- Index lines of stories (core/stories.py has their form) that wait, each in the list of its conversation, or of its
-- event while it has none.
-- KEYS: the beginning of the partition's keys of stories.
-- ARGV: seconds that keys of a day live; most lists; most lines of a list; most pointers of a bucket; lines after which
--       a run ends; milliseconds in which no other run takes anything (0: this one does not ask either); batches that
--       wait from which it does not ask.
-- Returns the numbers of lines that were indexed, of lines that could not be, and of batches that still wait.
-- Keys behind the beginning: `new` batches that wait, `<ms of writing> <number of lines>` and the lines, one on each
-- line, as JSON has no line breaks; `turn` while no other run takes anything; `<day>:l<name>` a list, its first element
-- has account, conversation, and the names of customers and participants that point to it; `<day>:i<start>` a bucket,
-- pointers `<rest of a name><name of a list>` of the names that start so; `lists` all lists by their age. What is of one
-- day expires together, so that nothing must be renewed for each event.
local P, life, most = KEYS[1], ARGV[1], tonumber(ARGV[2])
local longest, widest, enough = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local NEW, LISTS = P .. 'new', P .. 'lists'
local call, sub = redis.call, string.sub

local function name_of(text)
  return sub(redis.sha1hex(text), 1, 16)
end

local function text_of(value)
  return type(value) == 'string' and value ~= '' and value or nil
end

local function point(D, name, list)
  local bucket = D .. 'i' .. sub(name, 1, 3)
  local length = call('RPUSH', bucket, sub(name, 4) .. list)
  if length == 1 then
    call('EXPIRE', bucket, life)
  elseif length > widest then
    call('LPOP', bucket)
  end
end

local function begin(day, now, list, body)
  local key = P .. day .. 'l' .. list
  call('RPUSH', key, '', body)
  call('EXPIRE', key, life)
  call('ZADD', LISTS, now, day .. list)
  call('EXPIRE', LISTS, life)
  if call('ZCARD', LISTS) > most then
    local oldest = call('ZPOPMIN', LISTS)[1]
    local its_day, its_name = string.match(oldest, '^(%d+:)(.*)$')
    call('UNLINK', P .. its_day .. 'l' .. its_name)
  end
end

-- Characters of the names that a list remembers: of more, each line makes a pointer of its own.
local MOST_POINTING = 700
-- Where the elements of a line are: the resource (masked, perhaps), the conversation, the participant, the key, the empty
-- object.
local EVENT = { resource = 9, conversation = 15, participant = 16, key = 19, cut = 20 }
local STAGE = { resource = 7, conversation = 13, participant = 14, cut = 9 }

local function index(day, now, line)
  local D, all = P .. day, cjson.decode(line)
  local at = all[1] == 'event' and EVENT or STAGE
  local own, account, digests = sub(all[2], 4, 19), all[at.cut + 1], all[at.cut + 2]
  local masked, resource = text_of(all[at.cut + 3]), text_of(all[at.resource])
  local conversation, participant = text_of(all[at.conversation]), text_of(all[at.participant])
  -- The end of what is kept. Not in a text, where the quote behind the object would have a backslash before it.
  local body = sub(line, 1, string.find(line, '",{},"', 1, true)) .. ']'
  local list = conversation and name_of(account .. ' ' .. conversation) or own
  local key = D .. 'l' .. list
  local length = call('RPUSHX', key, body)
  if length == 0 then
    begin(day, now, list, body)
  elseif length > longest then
    local header = call('LINDEX', key, 0)
    call('LTRIM', key, length - longest, -1)
    call('LSET', key, 0, header)
  end
  -- What consumers add stands behind a line of the worker, which has made its pointers.
  local is_behind = length > 0 and at == STAGE and (all[4] == 'consumed' or all[4] == 'sent')
  if conversation and not is_behind then
    point(D, own, list)
  end
  -- From the id of a message its key follows, and so the name of its event.
  if masked and not is_behind then
    point(D, masked, list)
  elseif resource and not is_behind and all[at.key] ~= account .. ':messaging:' .. resource then
    point(D, name_of(resource), list)
  end
  -- Each customer and participant once, whichever line of the day is the first that names them.
  local header = call('LINDEX', key, 0)
  if not header then
    return -- it was the oldest of too many lists
  end
  local known = header ~= '' and cjson.decode(header)[3] or ''
  local pointing = known
  local function lead(name)
    if not string.find(pointing, name, 1, true) then
      point(D, name, list)
      pointing = #pointing < MOST_POINTING and pointing .. ' ' .. name or pointing
    end
  end
  if participant then
    lead(name_of(participant))
  end
  for _, digest in ipairs(digests) do
    lead(digest)
  end
  if header == '' or pointing ~= known then
    call('LSET', key, 0, cjson.encode({ account, conversation or '', pointing }))
  end
end

local waiting, pause = call('LLEN', NEW), tonumber(ARGV[6])
if waiting == 0 then
  return { 0, 0, 0 }
end
if pause > 0 and not call('SET', P .. 'turn', '', 'PX', pause, 'NX') and waiting < tonumber(ARGV[7]) then
  return { 0, 0, waiting }
end

local indexed, failed, problem = 0, 0, nil
while indexed + failed < enough and waiting > 0 do
  local batch = call('LPOP', NEW)
  waiting = waiting - 1
  local now, start = string.match(batch, '^(%d+) %d+\n()')
  local day = now and string.format('%d:', math.floor(tonumber(now) / 86400000))
  while start and start <= #batch do
    local stop = string.find(batch, '\n', start, true) or #batch + 1
    -- One that fails, because somebody has written nonsense, takes no other with it.
    local is_indexed, reason = pcall(index, day, now, sub(batch, start, stop - 1))
    if is_indexed then
      indexed = indexed + 1
    else
      failed, problem = failed + 1, reason
    end
    start = stop + 1
  end
end
if failed > 0 then
  return { indexed, failed, waiting, type(problem) == 'table' and problem.err or tostring(problem) }
end
return { indexed, failed, waiting }
