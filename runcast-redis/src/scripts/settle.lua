-- Takes back that a run is about to have entries in its outbox: all that were meant are in the feed.
--
-- KEYS: pending. ARGV: the run, the number of the time that it is pending, and, from whoever does it for a
-- node that is gone, the serial number that nothing has changed since.
local pending = redis.call('HGET', KEYS[1], ARGV[1])
if not pending then
  return 0
end
local number, open, serial, version, at = string.match(pending, '(%d+) (%d+) (%d+) (%d+) (%d+)')
if number ~= ARGV[2] or (ARGV[3] and serial ~= ARGV[3]) then
  return 0
end
if ARGV[3] or tonumber(open) <= 1 then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %d %d %s %s', number, open - 1, serial + 1, version, at))
end
return 1
