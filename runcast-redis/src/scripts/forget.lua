-- Forgets names whose streams are gone, tombstones and all; not those that were noted lately, whose
-- streams may be about to begin.
--
-- KEYS: the names, those that were noted lately. ARGV: runs. Gives how many were forgotten.
local forgotten = 0
for _, run in ipairs(ARGV) do
  if not redis.call('ZSCORE', KEYS[2], run) then
    forgotten = forgotten + redis.call('ZREM', KEYS[1], run)
  end
end
return forgotten
