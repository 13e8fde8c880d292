-- Shares the shards out among the nodes that are there, and renews those of one node.
--
-- KEYS: duties (a hash: `n:<node>` until when a node counts as there; a shard's number, whose it is and
-- until when). ARGV: the node, for how many milliseconds it counts as there (0: it leaves), how many
-- shards there are. Gives the shards that are the node's now, and the other nodes that are there.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local node, ttl, shards = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
local owners, others = {}, {}
for at = 1, #all, 2 do
  local name, value = all[at], all[at + 1]
  if string.sub(name, 1, 2) == 'n:' then
    if tonumber(value) < now then
      redis.call('HDEL', KEYS[1], name)
    elseif name ~= 'n:' .. node then
      others[#others + 1] = string.sub(name, 3)
    end
  else
    local owner, held_until = string.match(value, '(%S+) (%d+)')
    if tonumber(held_until) >= now then
      owners[tonumber(name)] = owner
    end
  end
end
local share = ttl > 0 and math.ceil(shards / (#others + 1)) or 0
if ttl > 0 then
  redis.call('HSET', KEYS[1], 'n:' .. node, string.format('%d', now + ttl))
else
  redis.call('HDEL', KEYS[1], 'n:' .. node)
end
local mine = {}
-- Its own first, so that few change hands.
for shard = 0, shards - 1 do
  if owners[shard] == node then
    if #mine < share then
      mine[#mine + 1] = shard
    else
      redis.call('HDEL', KEYS[1], shard)
    end
  end
end
for shard = 0, shards - 1 do
  if not owners[shard] and #mine < share then
    mine[#mine + 1] = shard
  end
end
for _, shard in ipairs(mine) do
  redis.call('HSET', KEYS[1], shard, string.format('%s %d', node, now + ttl))
end
return { mine, others }
