-- Stores the events of one run if its stream is as the node believes: a compare-and-set.
--
-- KEYS: meta, events, sizes, outbox. ARGV: the version that the meta has (0: none), the run's channel,
-- the batch's head, whether the events go with it, the channel of all changes, the run, the node, the
-- epoch, the first offset, how many fields of the meta, entries of the outbox and marks of the size
-- follow, whether the node has failed before, then these and the events. Gives 0 and nothing was done: it
-- is another stream by now; -1 and nothing was done: it is another node's turn; or all that is in the
-- outbox.
local kept = redis.call('HMGET', KEYS[1], 'v', 'turn')
if (kept[1] or '0') ~= ARGV[1] then
  -- Who fails again and again against a node that is faster has the next turn.
  if kept[1] and ARGV[13] == '1' and not kept[2] then
    redis.call('HSET', KEYS[1], 'turn', ARGV[7] .. ' 8')
  end
  return 0
end
if kept[2] then
  local node, left = string.match(kept[2], '(%S+) (%d+)')
  if node == ARGV[7] or tonumber(left) <= 1 then
    redis.call('HDEL', KEYS[1], 'turn')
  else
    redis.call('HSET', KEYS[1], 'turn', string.format('%s %d', node, left - 1))
    return -1
  end
end
local fields, entries, marks = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local first_entry = 14 + 2 * fields
local first_mark = first_entry + 2 * entries
local first_event = first_mark + 2 * marks
local offset = tonumber(ARGV[9])
-- Making a message costs as much as storing the events: it is made if somebody hears it.
local is_heard = redis.call('PUBSUB', NUMSUB, ARGV[2])[2] > 0
local with_events = is_heard and ARGV[4] == '1'
local batch = { ARGV[3] }
-- First, since it is what can be refused: for want of memory, or of another's entry in the stream.
for at = first_event, #ARGV do
  redis.call('XADD', KEYS[2], string.format('%d-%s', offset, ARGV[8]), ARGV[7], ARGV[at])
  offset = offset + 1
  if with_events then
    batch[#batch + 1] = struct.pack('>I4', #ARGV[at])
    batch[#batch + 1] = ARGV[at]
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 14, first_entry - 1))
for at = first_mark, first_event - 1, 2 do
  redis.call('ZADD', KEYS[3], ARGV[at], ARGV[at + 1])
end
for at = first_entry, first_mark - 1, 2 do
  redis.call('XADD', KEYS[4], ARGV[at], 'e', ARGV[at + 1])
end
if #ARGV >= first_event then
  if is_heard then
    redis.call(PUBLISH, ARGV[2], table.concat(batch))
  end
  redis.call('PUBLISH', ARGV[5], ARGV[7] .. ' ' .. ARGV[6])
end
if entries > 0 then
  return redis.call('XRANGE', KEYS[4], '-', '+')
end
return {}
