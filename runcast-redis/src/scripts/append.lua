-- Stores the events of one run if its stream is as the node believes: a compare-and-set.
--
-- KEYS: meta, events, sizes, outbox. ARGV: the version that the meta has (0: none), the run's channel,
-- the batch's head, whether the events go with it, the node, how many fields of the meta, entries of the
-- outbox and marks of the size follow, whether the node has failed before, whether the stream begins, then
-- these, two words each, and the entries of the events: id, field and value. Gives 0 and nothing was done: it is another stream
-- by now; -1 and nothing was done: it is another node's turn; or all that is in the outbox.
local kept = redis.call('HMGET', KEYS[1], 'v', 'turn')
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
if (kept[1] or '0') ~= ARGV[1] then
  -- Who fails again and again against a node that is faster has the next turn, for half a second.
  if kept[1] and ARGV[9] == '1' and not kept[2] then
    redis.call('HSET', KEYS[1], 'turn', string.format('%s %d', ARGV[5], now() + 500))
  end
  return 0
end
if kept[2] then
  local node, ends = string.match(kept[2], '(%S+) (%d+)')
  if node ~= ARGV[5] and now() < tonumber(ends) then
    return -1
  end
  redis.call('HDEL', KEYS[1], 'turn')
end
local first_entry = 11 + 2 * ARGV[6]
local first_mark = first_entry + 2 * ARGV[7]
local first_event = first_mark + 2 * ARGV[8]
-- First, since it is what can be refused: for want of memory, or of another's entry in the stream.
for at = first_event, #ARGV, 3 do
  redis.call('XADD', KEYS[2], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
redis.call('HSET', KEYS[1], unpack(ARGV, 11, first_entry - 1))
if ARGV[10] == '1' then
  -- It may have been a tombstone.
  redis.call('PERSIST', KEYS[1])
end
for at = first_mark, first_event - 1, 2 do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
end
for at = first_entry, first_mark - 1, 2 do
  redis.call('XADD', KEYS[4], ARGV[at], 'e', ARGV[at + 1])
end
-- Making a message costs more than asking whether somebody hears it.
if #ARGV >= first_event and redis.call('PUBSUB', NUMSUB, ARGV[2])[2] > 0 then
  local batch = { ARGV[3] }
  if ARGV[4] == '1' then
    for at = first_event + 2, #ARGV, 3 do
      batch[#batch + 1] = ARGV[at]
    end
  end
  redis.call(PUBLISH, ARGV[2], table.concat(batch))
end
if first_mark > first_entry then
  return redis.call('XRANGE', KEYS[4], '-', '+')
end
return {}
