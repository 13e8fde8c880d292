-- Finds, by halving, the marks of a stream's size that so many bytes lie between.
--
-- KEYS: sizes (a sorted set: the offset of the last event, and the bytes up to it). ARGV: bytes. Gives
-- the offset of the mark before, and offset and bytes of the first that stands for at least so many; 0
-- for one that there is not.
local low, high = 0, redis.call('ZCARD', KEYS[1]) - 1
local before, found, bytes = 0, 0, 0
while low <= high do
  local middle = math.floor((low + high) / 2)
  local mark = redis.call('ZRANGE', KEYS[1], middle, middle, 'WITHSCORES')
  if tonumber(mark[1]) >= tonumber(ARGV[1]) then
    found, bytes, high = tonumber(mark[2]), tonumber(mark[1]), middle - 1
  else
    before, low = tonumber(mark[2]), middle + 1
  end
end
return { before, found, bytes }
