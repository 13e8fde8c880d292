-- Gives entries of a stream their numbers as events of a producer, before they are appended: who comes
-- after a bridge that was killed in between sends the same numbers again.
--
-- KEYS: the owner, the stream's notes. ARGV: this bridge, the epoch of runs that have none, whether a new
-- epoch begins for them all, then an entry and its run, and so on. Gives an epoch and a number for each
-- entry, or nothing if another bridge is the owner by now.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local answer, begun = {}, {}
for at = 4, #ARGV, 2 do
  local entry, run = ARGV[at], ARGV[at + 1]
  local noted = ARGV[3] == '0' and redis.call('HGET', KEYS[2], entry)
  if not noted then
    local kept = (ARGV[3] == '0' or begun[run]) and redis.call('HGET', KEYS[2], 'next ' .. run)
    local epoch, number = string.match(kept or (ARGV[2] .. ' 0'), '(%d+) (%d+)')
    begun[run] = true
    noted = epoch .. ' ' .. number
    redis.call('HSET', KEYS[2], entry, noted, 'next ' .. run,
      epoch .. ' ' .. string.format('%d', tonumber(number) + 1))
  end
  answer[#answer + 1] = noted
end
return answer
