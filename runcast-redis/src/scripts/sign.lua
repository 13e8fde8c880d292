-- Notes that the producers of runs have given a sign now, and forgets what is too long ago to matter.
--
-- KEYS: signs. ARGV: for how many milliseconds signs are remembered, then runs.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for at = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now, ARGV[at])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]))
return 1
