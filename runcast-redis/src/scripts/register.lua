-- Notes the name of a stream that there is, or will be in a moment.
--
-- KEYS: the names, those that were noted lately (a sorted set: when, in milliseconds). ARGV: the run, for
-- how many milliseconds it is remembered that it was noted.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[2]))
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
