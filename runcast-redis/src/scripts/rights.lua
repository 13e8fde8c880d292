-- Tries all that is asked of Redis, on keys that are gone behind it.
--
-- KEYS: three of its own. ARGV: the channel of a run, the channel of all changes. Gives what the user may
-- not do, each in Redis's words.
local denied = {}
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err and string.find(answer.err, "can't", 1, true) then
    denied[#denied + 1] = ({ ... })[1] .. ': ' .. answer.err
  end
end
local hash, stream, set = KEYS[1], KEYS[2], KEYS[3]
try('HSET', hash, 'a', '1')
try('HGET', hash, 'a')
try('HMGET', hash, 'a')
try('HGETALL', hash)
try('HINCRBY', hash, 'a', '1')
try('HSCAN', hash, '0')
try('HDEL', hash, 'b')
try('XADD', stream, '1-1', 'a', '1')
try('XRANGE', stream, '-', '+')
try('XLEN', stream)
try('XTRIM', stream, 'MINID', '1')
try('XDEL', stream, '9-9')
try('ZADD', set, '1', 'a')
try('ZCARD', set)
try('ZSCORE', set, 'a')
try('ZRANGE', set, '0', '0', 'WITHSCORES')
try('ZRANGEBYLEX', set, '-', '+', 'LIMIT', '0', '1')
try('ZREMRANGEBYSCORE', set, '0', '1')
try('ZREM', set, 'a')
try('EXISTS', hash)
try('PEXPIRE', hash, '10000')
try('PERSIST', hash)
try('UNLINK', hash, stream, set)
try('SET', hash, '1')
try('GET', hash)
try('UNLINK', hash)
try('TIME')
try('PUBSUB', NUMSUB, ARGV[1])
try(PUBLISH, ARGV[1], '')
try('PUBLISH', ARGV[2], '')
return denied
