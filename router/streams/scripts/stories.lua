-- Add lines to stories (core/stories.py has their form), each to the list of its conversation, or of its event while it
-- has none.
-- KEYS: the beginning of the partition's keys of stories.
-- ARGV: now in ms; seconds that keys of today live; most lists; most lines of a list; most pointers of a bucket; the
--       number of lines; the lines, one on each line, as JSON has no line breaks.
-- Keys behind the beginning: `<day>:l<name>` a list, its first element names account and conversation; `<day>:i<start>`
-- a bucket, pointers `<rest of a name><name of a list>` of the names that start so; `lists` all lists by their age. All
-- are of one day and expire together, so that nothing must be renewed for each event.
local P, now, life = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local most, longest, widest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local day = string.format('%d:', math.floor(now / 86400000))
local D, LISTS = P .. day, P .. 'lists'
local call, sub = redis.call, string.sub

local function name_of(text)
  return sub(redis.sha1hex(text), 1, 16)
end

local function text_of(value)
  return type(value) == 'string' and value ~= '' and value or nil
end

local function point(name, list)
  local bucket = D .. 'i' .. sub(name, 1, 3)
  local length = call('RPUSH', bucket, sub(name, 4) .. list)
  if length == 1 then
    call('EXPIRE', bucket, life)
  elseif length > widest then
    call('LPOP', bucket)
  end
end

local function begin(key, list, header, body)
  call('RPUSH', key, header, body)
  call('EXPIRE', key, life)
  call('ZADD', LISTS, now, day .. list)
  call('EXPIRE', LISTS, life)
  if call('ZCARD', LISTS) > most then
    local oldest = call('ZPOPMIN', LISTS)[1]
    local its_day, its_name = string.match(oldest, '^(%d+:)(.*)$')
    call('UNLINK', P .. its_day .. 'l' .. its_name)
  end
end

-- Where the elements of a line are: the resource (masked, perhaps), the conversation, the participant, the key, the empty
-- object.
local EVENT = { resource = 9, conversation = 15, participant = 16, key = 19, cut = 20 }
local STAGE = { conversation = 13, participant = 14, cut = 9 }

local start = 1
while start <= #ARGV[7] do
  local stop = string.find(ARGV[7], '\n', start, true) or #ARGV[7] + 1
  local line = sub(ARGV[7], start, stop - 1)
  start = stop + 1
  local all = cjson.decode(line)
  local at = all[1] == 'event' and EVENT or STAGE
  local is_news = at == STAGE and all[4] ~= 'consumed' and all[4] ~= 'sent' or all[12] == 'joined'
  local own, account, digests = sub(all[2], 4, 19), all[at.cut + 1], all[at.cut + 2]
  local resource = text_of(all[at.cut + 3]) or text_of(all[at.resource])
  local conversation, participant = text_of(all[at.conversation]), text_of(all[at.participant])
  -- The end of what is kept. Not in a text, where the quote behind the object would have a backslash before it.
  local body = sub(line, 1, string.find(line, '",{},"', 1, true)) .. ']'
  local list = conversation and name_of(account .. ' ' .. conversation) or own
  local key = D .. 'l' .. list
  local length = call('RPUSHX', key, body)
  local header = (length == 0 or length > longest) and cjson.encode({ account, conversation or '' })
  if length == 0 then
    begin(key, list, header, body)
  elseif length > longest then
    call('LTRIM', key, length - longest, -1)
    call('LSET', key, 0, header)
  end
  -- What consumers add stands behind a line of the worker, which has made its pointers.
  local is_behind = length > 0 and at == STAGE and (all[4] == 'consumed' or all[4] == 'sent')
  if conversation and not is_behind then
    point(own, list)
  end
  -- From the id of a message its key follows, and so the name of its event.
  if resource and not is_behind and all[at.key] ~= account .. ':messaging:' .. resource then
    point(name_of(resource), list)
  end
  if length == 0 or is_news then
    if participant then
      point(name_of(participant), list)
    end
    for _, digest in ipairs(digests) do
      point(digest, list)
    end
  end
end
return tonumber(ARGV[6])
