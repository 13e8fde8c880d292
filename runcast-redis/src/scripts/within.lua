-- Finds in the marks of a stream's size the first that stands for at least so many bytes, by halving.
--
-- KEYS: sizes (a sorted set: the offset of the last event, and the bytes up to it). ARGV: bytes. Gives
-- the offset, or 0.
local low, high, found = 0, redis.call('ZCARD', KEYS[1]) - 1, 0
while low <= high do
  local middle = math.floor((low + high) / 2)
  local mark = redis.call('ZRANGE', KEYS[1], middle, middle, 'WITHSCORES')
  if tonumber(mark[1]) >= tonumber(ARGV[1]) then
    found, high = tonumber(mark[2]), middle - 1
  else
    low = middle + 1
  end
end
return found
