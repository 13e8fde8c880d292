-- Takes entries out of a run's outbox that are in the feed.
--
-- KEYS: outbox. ARGV: the id behind the last of them.
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1])
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('UNLINK', KEYS[1])
end
return 1
