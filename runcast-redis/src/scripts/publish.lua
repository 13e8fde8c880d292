-- What producers call that have nothing but a client of Redis: events for a run are kept in the inbox, out of
-- which a server appends them as it does any others.
local RUN_CHARS_MAX, EVENTS_MAX, EVENT_BYTES_MAX, BATCH_BYTES_MAX = 128, 1000, 262144, 4194304
local NUMBER_MAX = 9007199254740991

local function refused(code, text)
  return redis.error_reply('RUNCAST ' .. code .. ': ' .. text)
end

local function is_id(text)
  return #text > 0 and #text <= RUN_CHARS_MAX and text ~= '.' and text ~= '..'
    and string.find(text, '^[%w%._~:%-]+$') ~= nil
end

local function is_number(text)
  return string.find(text, '^%d+$') ~= nil and #text <= 16 and tonumber(text) <= NUMBER_MAX
end

-- What is wrong with an event; only what can be seen without the run.
local function fault_of(event)
  if #event > EVENT_BYTES_MAX then
    return 'has ' .. #event .. ' bytes, ' .. EVENT_BYTES_MAX .. ' are the most'
  end
  if not string.find(event, '^%s*{') then
    return 'is not a JSON object'
  end
  local is_json, decoded = pcall(cjson.decode, event)
  if not is_json then
    return 'is not JSON'
  end
  if type(decoded.type) ~= 'string' or decoded.type == '' then
    return 'has no type'
  end
end

-- What this process of Redis has counted last; another that takes over, or the same with older data, has not.
local calls

-- The epoch and the first number of events whose producer does not count. A new epoch begins whenever numbers
-- may have been lost that were given, so that none is given twice.
local function counted(numbers, run, count)
  local kept = redis.call('HMGET', numbers, '$calls', '$epoch', '$bytes')
  if not calls or kept[1] ~= calls then
    local time = redis.call('TIME')
    local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
    local begun = math.max(now, tonumber(kept[2] or '0') + 1)
    redis.call('UNLINK', numbers)
    redis.call('HSET', numbers, '$epoch', string.format('%.0f', begun), '$bytes', kept[3] or '0')
  end
  calls = string.format('%d', redis.call('HINCRBY', numbers, '$calls', 1))
  local sequence = redis.call('HINCRBY', numbers, run, count) - count
  return redis.call('HGET', numbers, '$epoch'), string.format('%d', sequence)
end

-- Keys: the inbox. Arguments: the run, the producer (or '', and then epoch and sequence do not matter), its
-- epoch, the number of the first event, the events as JSON. Gives the place in the inbox.
local function publish(keys, args)
  local inbox = keys[1]
  if #keys ~= 1 or #args < 5 or not string.find(inbox, ':{inbox}:events$') then
    return refused('usage', 'FCALL runcast_publish 1 rc:{inbox}:events <run> <producer or ""> '
      .. '<epoch> <sequence> <event> ...')
  end
  local run, producer, epoch, sequence, count = args[1], args[2], args[3], args[4], #args - 4
  if not is_id(run) then
    return refused('invalid_run_id', 'the run must be 1 to 128 letters, digits, and . _ ~ : -')
  end
  if producer ~= '' and not (is_id(producer) and is_number(epoch) and is_number(sequence)) then
    return refused('invalid_producer', 'a producer needs an id, an epoch and a sequence')
  end
  if count > EVENTS_MAX then
    return refused('body_too_large', count .. ' events, ' .. EVENTS_MAX .. ' are the most')
  end
  local bytes = 0
  for at = 5, #args do
    local fault = fault_of(args[at])
    if fault then
      return refused('invalid_event', 'event ' .. (at - 4) .. ' ' .. fault)
    end
    bytes = bytes + #args[at]
  end
  if bytes > BATCH_BYTES_MAX then
    return refused('body_too_large', bytes .. ' bytes, ' .. BATCH_BYTES_MAX .. ' are the most')
  end
  local numbers = string.gsub(inbox, 'events$', 'numbers')
  if redis.call('XLEN', inbox) >= INBOX_ENTRIES_MAX then
    return refused('inbox_full', 'redis_inbox_entries_max (' .. INBOX_ENTRIES_MAX .. ') wait')
  end
  local waiting = tonumber(redis.call('HGET', numbers, '$bytes') or '0')
  if waiting + bytes > INBOX_BYTES_MAX then
    return refused('inbox_full', 'redis_inbox_bytes_max (' .. INBOX_BYTES_MAX .. ' bytes) wait')
  end
  if producer == '' then
    epoch, sequence = counted(numbers, run, count)
  end
  redis.call('HINCRBY', numbers, '$bytes', bytes)
  local entry = { inbox, '*', 'run', run, 'producer', producer, 'epoch', epoch,
    'sequence', sequence }
  for at = 5, #args do
    entry[#entry + 1] = 'event'
    entry[#entry + 1] = args[at]
  end
  return redis.call('XADD', unpack(entry))
end

redis.register_function('runcast_publish', publish)
