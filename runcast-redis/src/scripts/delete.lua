-- Deletes a stream if it is as the node believes, and leaves a tombstone.
--
-- KEYS: meta, events, sizes, outbox, base. ARGV: the version that the meta has, the run's channel, what
-- is said there, how many entries of the outbox follow, for how many milliseconds the tombstone stays, then
-- the entries, then the fields of the tombstone. Gives 0 and nothing was done; or all of the outbox.
local version = redis.call('HGET', KEYS[1], 'v') or '0'
if version ~= ARGV[1] then
  return 0
end
local first_field = 6 + 2 * ARGV[4]
-- First, since it is what can be refused for want of memory.
for at = 6, first_field - 1, 2 do
  redis.call('XADD', KEYS[4], ARGV[at], 'e', ARGV[at + 1])
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[5])
redis.call('HSET', KEYS[1], unpack(ARGV, first_field, #ARGV))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call(PUBLISH, ARGV[2], ARGV[3])
if first_field > 6 then
  return redis.call('XRANGE', KEYS[4], '-', '+')
end
return {}
