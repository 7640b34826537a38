"""Lua scripts of the Redis adapters: what must happen in one step on the server.

They are sent as text with EVAL. A digest (EVALSHA) is unknown after a restart or a fail-over, and inside a pipeline that
would be found out too late; the server compiles a text only once. All keys of one call share a hash tag.
"""

from typing import Final

CREATE_STREAM: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'brokerkit-create', '$', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'brokerkit-create')
end
"""
"""An empty stream. KEYS: stream."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

PARK: Final = f"""
{_NOW}
local fields = {{}}
for i = 5, #ARGV do fields[i - 4] = ARGV[i] end
local member = cmsgpack.pack({{KEYS[1], ARGV[2], fields}})
redis.call('ZADD', KEYS[2], now + ARGV[3], member)
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  redis.call('ZREM', KEYS[2], member)
  return {{0}}
end
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return {{1}}
"""
"""Keep a copy for later and acknowledge the original; ``{0}`` when somebody else has settled it. The server's clock counts.
ZADD comes first: what could refuse it (memory, ACL) must find the original still pending.
KEYS: stream, sorted set. ARGV: group, id, delay in ms, 1 to delete the original, fields."""

MOVE_DUE: Final = f"""
{_NOW}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('XADD', KEYS[2], '*', unpack(cmsgpack.unpack(member)[3]))
  redis.call('ZREM', KEYS[1], member)
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then return math.max(0, first[2] - now) end
return -1
"""
"""Move what is due into the retry stream; the answer is the ms until the next is, or -1.
KEYS: sorted set, stream. ARGV: most."""

EXTEND: Final = """
local kept = {}
for i = 3, #ARGV do
  kept[i - 2] = 0
  if redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1] then
    kept[i - 2] = #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  end
end
return kept
"""
"""Reset the idle time of entries that are still ours: XCLAIM alone would take them back from whoever has claimed them.
KEYS: stream. ARGV: group, consumer, ids."""

RELEASE: Final = """
local kept = {}
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])[1]
  kept[i - 3] = 0
  if pending then
    kept[i - 3] = #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i],
      'IDLE', ARGV[3], 'RETRYCOUNT', math.max(0, pending[4] - 1), 'JUSTID')
  end
end
return kept
"""
"""Make entries look idle for a whole lease, so that the next sweep of any member takes them, and take this delivery off
their count. KEYS: stream. ARGV: group, consumer, lease in ms, ids."""

LEAVE: Final = """
if not redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])[1] then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""
"""Delete a consumer, unless it has pending entries, which would go with it. KEYS: stream. ARGV: group, consumer."""

TAKE: Final = """
local taken = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #taken > 0 then
  redis.call('LTRIM', KEYS[2], 0, -1)
  for i = 1, #taken do redis.call('RPUSH', KEYS[2], taken[i]) end
  redis.call('LTRIM', KEYS[1], #taken, -1)
end
return taken
"""
"""Take up to so many values from the head. KEYS: list, processing list. ARGV: most.
RPUSH comes before the values leave the list: what could refuse it (ACL) must find them still there. The LTRIM before it
changes nothing; a full server lets a script that has written go on writing, and so can be emptied."""

FINISH: Final = """
local found = {}
for i = 1, #ARGV do found[i] = redis.call('LREM', KEYS[1], 1, ARGV[i]) end
return found
"""
"""Drop values that are done; how many were there, for each. KEYS: processing list. ARGV: values."""

GIVE_BACK: Final = """
local found = {}
redis.call('LTRIM', KEYS[2], 0, -1)
for i = #ARGV, 1, -1 do
  redis.call('LPUSH', KEYS[1], ARGV[i])
  found[i] = redis.call('LREM', KEYS[2], -1, ARGV[i])
  if found[i] == 0 then redis.call('LPOP', KEYS[1]) end
end
return found
"""
"""Put values back to the head, the first one first again. LPUSH comes first, and LTRIM before it, as in `TAKE`.
KEYS: list, processing list. ARGV: values."""

POSTPONE: Final = f"""
{_NOW}
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
if redis.call('LREM', KEYS[2], 1, ARGV[3]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[2])
  return {{0}}
end
return {{1}}
"""
"""Keep a copy for later in place of a value. KEYS: sorted set, processing list. ARGV: delay in ms, member, value."""

RETURN_DUE: Final = f"""
{_NOW}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for i = #due, 1, -1 do
  redis.call('LPUSH', KEYS[2], string.sub(due[i], ARGV[2] + 1))
  redis.call('ZREM', KEYS[1], due[i])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then return math.max(0, first[2] - now) end
return -1
"""
"""Put due copies to the head of the list; the answer is the ms until the next is due, or -1.
KEYS: sorted set, list. ARGV: most, number of bytes that make a member unique and are cut off."""

ALIVE: Final = """
local known = 1 - redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
return known
"""
"""Sign a member in again; 0 where it was not signed in. KEYS: members, its heartbeat. ARGV: member, lease in ms."""

TAKE_OVER: Final = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local moved = 0
while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT') do moved = moved + 1 end
redis.call('SREM', KEYS[4], ARGV[1])
return moved
"""
"""Give the processing list of a member without heartbeat back to the head, in order.
KEYS: list, processing list, heartbeat, members. ARGV: member."""
