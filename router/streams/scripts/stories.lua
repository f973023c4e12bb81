-- Add lines to stories (core/stories.py), each to the list of its conversation, or of its event while it has none.
-- KEYS: the beginning of the partition's keys of stories.
-- ARGV: now in ms; seconds that keys of today live; most lists; most lines of a list; most pointers of a bucket; then
--       the lines.
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

for index = 6, #ARGV do
  local line = ARGV[index]
  local break_at = string.find(line, '\n', 1, true)
  local head, body = cjson.decode(sub(line, 1, break_at - 1)), sub(line, break_at + 1)
  local event, resource, account, conversation, participant = head[1], head[2], head[3], head[4], head[5]
  local own = sub(event, 4, 19)
  local has_conversation = type(conversation) == 'string' and conversation ~= ''
  local list = has_conversation and name_of(account .. ' ' .. conversation) or own
  local key = D .. 'l' .. list
  local length = call('RPUSHX', key, body)
  local header = (length == 0 or length > longest) and cjson.encode({ account, has_conversation and conversation or '' })
  if length == 0 then
    begin(key, list, header, body)
  elseif length > longest then
    call('LTRIM', key, length - longest, -1)
    call('LSET', key, 0, header)
  end
  if has_conversation then
    point(own, list)
  end
  if type(resource) == 'string' and resource ~= '' then
    point(name_of(resource), list)
  end
  if length == 0 or head[7] then
    if type(participant) == 'string' and participant ~= '' then
      point(name_of(participant), list)
    end
    for _, digest in ipairs(head[6]) do
      point(digest, list)
    end
  end
end
return #ARGV - 5
