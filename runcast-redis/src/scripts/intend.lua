-- Notes that a run is about to have entries for the feed in its outbox, so that any node can bring them
-- there if this one dies.
--
-- KEYS: pending. ARGV: the run. Gives the number of this time that the run is pending.
local pending = redis.call('HGET', KEYS[1], ARGV[1])
local number, open, serial, version, at
if pending then
  number, open, serial, version, at = string.match(pending, '(%d+) (%d+) (%d+) (%d+) (%d+)')
else
  number, open, serial, version, at = redis.call('HINCRBY', KEYS[1], '$number', 1), 0, 0, 0, 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %d %d %d %d', number, open + 1, serial + 1, version, at))
return tonumber(number)
