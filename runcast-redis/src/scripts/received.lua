-- Takes entries out of the inbox that are appended or refused.
--
-- KEYS: the inbox, its numbers, what was refused. ARGV: how many bytes the entries had, how many refusals are
-- kept, how many entries; their places; of each refusal its run, place, reason, and the beginning of its events.
local count = tonumber(ARGV[3])
local removed = redis.call('XDEL', KEYS[1], unpack(ARGV, 4, 3 + count))
for at = 4 + count, #ARGV, 4 do
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'run', ARGV[at], 'place', ARGV[at + 1],
    'reason', ARGV[at + 2], 'events', ARGV[at + 3])
end
if redis.call('XLEN', KEYS[1]) == 0 then
  local kept = redis.call('HMGET', KEYS[2], '$epoch', '$calls')
  redis.call('UNLINK', KEYS[2])
  if kept[1] then
    -- The numbers of all runs begin anew, in another epoch.
    local epoch = string.format('%.0f', tonumber(kept[1]) + 1)
    redis.call('HSET', KEYS[2], '$epoch', epoch, '$calls', kept[2])
  end
elseif removed > 0 then
  redis.call('HINCRBY', KEYS[2], '$bytes', string.format('%d', -tonumber(ARGV[1])))
end
return removed
