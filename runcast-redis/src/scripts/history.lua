-- Which history of Redis this is: a number that goes up whenever another server process answers, since
-- what it has of the streams may be older than what was acknowledged.
--
-- KEYS: the history. ARGV: the server's run id, seconds since 2020, the newest history that the node has
-- seen (0: none). Gives the number; 1 is a log that never lost anything.
local kept = redis.call('HMGET', KEYS[1], 'server', 'number')
local number, seen = tonumber(kept[2] or '0'), tonumber(ARGV[3])
if kept[1] == ARGV[1] and number >= seen then
  return number
end
if number == 0 and seen == 0 then
  number = 1
else
  number = math.max(number + 1, seen + 1, tonumber(ARGV[2]))
end
redis.call('HSET', KEYS[1], 'server', ARGV[1], 'number', string.format('%d', number))
return number
