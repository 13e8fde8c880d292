-- Puts a run's entries into the feed, each once, however often and by whomever they are brought.
--
-- KEYS: the feed's meta, its events, pending. ARGV: the run, the number of the time that it is pending,
-- the history, the node, the feed's channel, then for each entry its id in the outbox (version, place)
-- and itself; in order, and none left out that may not have been brought before.
-- Gives -1: the run is not pending; -2: the feed is of an older history; or the offset before the first
-- entry that was put in, how many were, and the fields of the meta.
local pending = redis.call('HGET', KEYS[3], ARGV[1])
if not pending then
  return -1
end
local number, open, serial, version, at = string.match(pending, '(%d+) (%d+) (%d+) (%d+) (%d+)')
if number ~= ARGV[2] then
  return -1
end
version, at = tonumber(version), tonumber(at)
local meta = redis.call('HMGET', KEYS[1], 'h', 'epoch', 'last', 'first', 'bases')
local history, epoch = meta[1], meta[2]
if not history then
  history, epoch = ARGV[3], ARGV[3]
  local bases = ''
  if epoch ~= '1' then
    bases = epoch .. ':0'
  end
  meta = { history, epoch, '0', '1', bases }
  redis.call('HSET', KEYS[1], 'v', '0', 'h', history, 'first', '1', 'last', '0', 'phase', 'o', 'epoch',
    epoch, 'born', epoch, 'base', '0', 'bases', bases, 'bytes', '0')
end
if history ~= ARGV[3] then
  return -2
end
local before = tonumber(meta[3])
local last, bytes = before, 0
local sizes, bodies = {}, {}
for place = 6, #ARGV, 3 do
  local entry_version, entry_at = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  if entry_version > version or (entry_version == version and entry_at > at) then
    local entry = ARGV[place + 2]
    last = last + 1
    redis.call('XADD', KEYS[2], string.format('%d-%s', last, epoch), ARGV[4], entry)
    bytes = bytes + #entry
    sizes[#sizes + 1] = string.format('1:%d,', #entry)
    bodies[#bodies + 1] = entry
    version, at = entry_version, entry_at
  end
end
if last > before then
  redis.call('HSET', KEYS[1], 'last', string.format('%d', last))
  redis.call('HINCRBY', KEYS[1], 'bytes', bytes)
  redis.call('HINCRBY', KEYS[1], 'v', 1)
  redis.call('HSET', KEYS[3], ARGV[1], string.format('%s %s %d %d %d', number, open, serial + 1, version, at))
  local head = string.format('%s a %s %d o %s %s %s\n', ARGV[4], meta[4], last, epoch, meta[5],
    table.concat(sizes))
  redis.call(PUBLISH, ARGV[5], head .. table.concat(bodies))
end
return { before, last - before, redis.call('HGETALL', KEYS[1]) }
