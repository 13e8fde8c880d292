-- Takes or keeps the lease of a bridge: one of a name works at a time.
--
-- KEYS: the owner. ARGV: this bridge, for how many milliseconds. Gives 1, or 0 if another has it.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
