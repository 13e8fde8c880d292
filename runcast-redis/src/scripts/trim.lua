-- Gives up a stream's oldest events if it is as the node believes.
--
-- KEYS: meta, events, sizes, base. ARGV: the version that the meta has, the first offset that is kept,
-- what stands for those before (may be empty), the fields of the meta. Gives 0 and nothing was done; or 1.
local version = redis.call('HGET', KEYS[1], 'v') or '0'
if version ~= ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  redis.call('UNLINK', KEYS[4])
else
  redis.call('SET', KEYS[4], ARGV[3])
end
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[2])
redis.call('HSET', KEYS[1], unpack(ARGV, 4, #ARGV))
return 1
