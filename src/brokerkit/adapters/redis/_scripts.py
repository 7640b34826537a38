"""Lua scripts of the Redis adapters: what must happen in one step on the server.

They are sent as text with EVAL. A digest (EVALSHA) is unknown after a restart or a fail-over, and a pipeline would notice
that too late. The server compiles a text only once. All keys of one call share a hash tag, except in the scripts that look
at many topics at once.
"""

from collections.abc import Mapping
from typing import Final

from brokerkit.adapters.api import ReadFrom

_ENDS: Final[tuple[tuple[ReadFrom, str, str], ...]] = (("left", "LPUSH", "LPOP"), ("right", "RPUSH", "RPOP"))
"""For each end of a list: what puts a value there, and what takes it away again."""

GONE: Final = 2
"""Answer for an entry that was trimmed or deleted from its stream before we settled it."""

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

# An emptied key is gone: in a slot that moves to another server, a script must not come back to it.
_FIRST_LEFT = """
if left == 0 then return -1 end
return math.max(0, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now)
"""

PARK: Final = f"""
{_NOW}
local fields = {{}}
for i = 5, #ARGV do fields[i - 4] = ARGV[i] end
local member = cmsgpack.pack({{KEYS[1], ARGV[2], fields}})
redis.call('ZADD', KEYS[2], now + ARGV[3], member)
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then
  if ARGV[4] == '0' and not redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1] then return {{{GONE}}} end
  redis.call('ZREM', KEYS[2], member)
  return {{0}}
end
if ARGV[4] == '1' then redis.call('XDEL', KEYS[1], ARGV[2]) end
return {{1}}
"""
"""Keep a copy for later and acknowledge the original; ``{0}`` when somebody else has settled it, `GONE` when it was trimmed
with its reference, and the copy is all that is left. The server's clock counts.
ZADD comes first: if the server refuses it (memory, ACL), the original must still be pending.
KEYS: stream, sorted set. ARGV: group, id, delay in ms, 1 to delete the original, fields."""

KEEP_BACK: Final = f"""
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' and ARGV[2] == '0' then return false end
if kind ~= 'none' and kind ~= ARGV[3] then return redis.error_reply('WRONGTYPE the key is a ' .. kind) end
{_NOW}
local member = ARGV[4]
if #ARGV > 4 then
  local fields = {{}}
  for i = 5, #ARGV do fields[i - 4] = ARGV[i] end
  member = cmsgpack.pack({{KEYS[1], ARGV[4], fields}})
end
redis.call('ZADD', KEYS[2], now + ARGV[1], member)
return 1
"""
"""Keep what is published for later; nil where the topic must exist and does not. A reader moves it with `MOVE_DUE` or
`RETURN_DUE`. KEYS: topic, sorted set. ARGV: delay in ms, 1 if the topic may be created, its type, what makes the member
unique, fields of a stream entry; for a list the member and no fields."""

MOVE_DUE: Final = f"""
{_NOW}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local left = redis.call('ZCARD', KEYS[1]) - #due
for _, member in ipairs(due) do
  redis.call('XADD', KEYS[2], '*', unpack(cmsgpack.unpack(member)[3]))
  redis.call('ZREM', KEYS[1], member)
end
{_FIRST_LEFT}
"""
"""Move what is due into the retry stream; the answer is the ms until the next is, or -1.
KEYS: sorted set, stream. ARGV: most."""

LOOK: Final = f"""
{_NOW}
local found, first = {{}}, -1
for i = 1, #KEYS, 2 do
  local due = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2]
  local left = due and math.max(0, due - now) or -1
  local wanted = left == 0
  if not wanted then
    local pending = redis.pcall('XPENDING', KEYS[i + 1], ARGV[1])
    wanted = pending.err ~= nil or redis.call('XLEN', KEYS[i + 1]) > pending[1]
  end
  if wanted then
    found[#found + 1] = (i - 1) / 2
  elseif left > 0 and (first < 0 or left < first) then
    first = left
  end
end
return {{first, found}}
"""
"""The ms until the next copy of any topic is due, or -1; and the indexes of the topics that have one now, or unread retries.
Settled entries leave a retry stream, so entries that are not pending there are unread.
KEYS: sorted set and retry stream of each topic. ARGV: group."""

LOOK_LATER: Final = f"""
{_NOW}
local found, first = {{}}, -1
for i = 1, #KEYS do
  local due = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2]
  if due and due - now <= 0 then
    found[#found + 1] = i - 1
  elseif due and (first < 0 or due - now < first) then
    first = due - now
  end
end
return {{first, found}}
"""
"""The ms until the next message that was published for later is due, or -1; and the indexes of the topics that have one now.
KEYS: sorted sets of what is published for later."""

CLAIMABLE: Final = """
local found = {}
for i = 1, #KEYS do
  local pending = redis.pcall('XPENDING', KEYS[i], ARGV[1])
  if pending.err or pending[1] > 0 and redis.call('XPENDING', KEYS[i], ARGV[1], 'IDLE', ARGV[2], '-', '+', 1)[1] then
    found[#found + 1] = i - 1
  end
end
return found
"""
"""The indexes of the streams that have something to claim, or no group. XAUTOCLAIM goes through what live members hold
ten times slower, and in steps of ten entries for each that it may claim. KEYS: streams. ARGV: group, lease in ms."""

EXTEND: Final = f"""
local kept = {{}}
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  kept[i - 2] = 0
  if pending and pending[2] == ARGV[2] then
    kept[i - 2] = 1
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
  elseif not pending and not redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1] then
    kept[i - 2] = {GONE}
  end
end
return kept
"""
"""Reset the idle time of entries that are still ours. XCLAIM alone would take them back from a consumer that has claimed
them. It drops entries that were trimmed, which stay ours: nobody else can read them.
KEYS: stream. ARGV: group, consumer, ids."""

RELEASE: Final = f"""
local kept = {{}}
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  local others = pending and pending[2] ~= ARGV[2]
  kept[i - 3] = 0
  if not others and not redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1] then
    kept[i - 3] = {GONE}
  elseif pending and not others then
    kept[i - 3] = #redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i],
      'IDLE', ARGV[3], 'RETRYCOUNT', math.max(0, pending[4] - 1), 'JUSTID')
  end
end
return kept
"""
"""Make entries look idle for a whole lease, so that the next sweep of any member takes them, and reduce their count by this
delivery. Trimmed entries are `GONE`: no member could read them.
KEYS: stream. ARGV: group, consumer, lease in ms, ids."""

BEGIN_ALONE: Final = """
local starts = redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return starts
"""
"""Count one more start. KEYS: hash. ARGV: field, seconds for which the hash is kept."""

LEAVE: Final = """
if not redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])[1] then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
"""
"""Delete a consumer, unless it has pending entries, which would go with it. KEYS: stream. ARGV: group, consumer."""

TRIM: Final = """
local function before(one, other)
  local ms, number = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  if ms == other_ms then ms, other_ms = number, other_number end
  if #ms ~= #other_ms then return #ms < #other_ms end
  return ms < other_ms
end
local removed, kept_back = 0, {}
for i = 1, #KEYS do
  local excess = redis.call('XLEN', KEYS[i]) - ARGV[1]
  if excess > 0 and removed < tonumber(ARGV[2]) then
    local settled, by
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[i])) do
      local group = {}
      for j = 1, #flat, 2 do group[flat[j]] = flat[j + 1] end
      local id = group['last-delivered-id']
      if group['pending'] > 0 then id = redis.call('XPENDING', KEYS[i], group['name'])[2] end
      if not settled or before(id, settled) then settled, by = id, group['name'] end
    end
    if settled then
      local limit = math.min(excess, ARGV[2] - removed)
      local here = redis.call('XTRIM', KEYS[i], 'MINID', '~', settled, 'LIMIT', limit)
      removed = removed + here
      if here == 0 then kept_back[#kept_back + 1] = {i - 1, by, excess + ARGV[1]} end
    end
  end
end
return {removed, kept_back}
"""
"""Remove from the front what every group has settled, as long as a stream has more entries than shall stay. Ids are compared
as text: their numbers may be larger than Lua can tell apart. XTRIM's own ACKED is of no use: with ``~``, Redis 8.2 removes
nothing, and without it each call looks at everything that is not settled.
The answer: how many entries are gone; and for each stream that could not be trimmed its index, the group that has not
settled its first entries, and its length. KEYS: streams. ARGV: entries that stay in each, the most to remove.
"""

TAKE: Final[Mapping[ReadFrom, str]] = {
    "left": """
local taken = redis.call('LRANGE', KEYS[1], 0, ARGV[1] - 1)
if #taken > 0 then
  redis.call('LTRIM', KEYS[2], 0, -1)
  for i = 1, #taken do redis.call('RPUSH', KEYS[2], taken[i]) end
  redis.call('LTRIM', KEYS[1], #taken, -1)
end
return taken
""",
    "right": """
local found = redis.call('LRANGE', KEYS[1], -ARGV[1], -1)
local taken = {}
if #found > 0 then
  redis.call('LTRIM', KEYS[2], 0, -1)
  for i = #found, 1, -1 do
    taken[#taken + 1] = found[i]
    redis.call('RPUSH', KEYS[2], found[i])
  end
  redis.call('LTRIM', KEYS[1], 0, -#found - 1)
end
return taken
""",
}
"""Take up to this many values from the end that is read, the next one first. KEYS: list, processing list. ARGV: most.
RPUSH comes before the values leave the list: if the server refuses it (ACL), they must still be there. The LTRIM before
it changes nothing. A full server lets a script go on writing once it has written, so a full list can be emptied."""

FILLED: Final = """
local found = {}
for i = 1, #KEYS do
  if redis.call('LLEN', KEYS[i]) > 0 then found[#found + 1] = i - 1 end
end
return found
"""
"""The indexes of the lists that have values. KEYS: lists."""

NEXT_DUE: Final = f"""
{_NOW}
local found, first, late = {{}}, -1, {{}}
for i = 1, #KEYS, 3 do
  local later = redis.call('ZRANGE', KEYS[i + 2], 0, 0, 'WITHSCORES')[2]
  if later and later - now <= 0 then
    late[#late + 1] = (i - 1) / 3
  elseif later and (first < 0 or later - now < first) then
    first = later - now
  end
  local due = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2]
  if (due and due - now <= 0) or redis.call('LLEN', KEYS[i + 1]) > 0 then
    found[#found + 1] = (i - 1) / 3
  elseif due and (first < 0 or due - now < first) then
    first = due - now
  end
end
return {{first, found, late}}
"""
"""The ms until the next copy of any topic is due, or -1; the indexes of the topics that have one now, or values in their own
list; and the indexes of those for which something was published that is due now.
KEYS: sorted set, own list, and sorted set of what is published for later, of each topic."""

CENSUS: Final = """
local found = {}
for i = 1, #KEYS, 2 do
  if redis.call('SCARD', KEYS[i]) > 1 or redis.call('LLEN', KEYS[i + 1]) > tonumber(ARGV[(i + 1) / 2]) then
    found[#found + 1] = (i - 1) / 2
  end
end
return found
"""
"""The indexes of the lists that have other members too, or more values in our processing list than we hold.
KEYS: members and processing list of each. ARGV: values that are held of each."""

FINISH: Final = """
local found = {}
if ARGV[2] == '1' and redis.call('LREM', KEYS[2], 1, ARGV[1]) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[1])
  for i = 3, #ARGV do found[i - 2] = 1 end
  return found
end
redis.call('LTRIM', KEYS[2], 1, 0)
redis.call('RPUSH', KEYS[2], ARGV[1])
for i = 3, #ARGV do found[i - 2] = redis.call('LREM', KEYS[1], 1, ARGV[i]) end
return found
"""
"""Drop values that are done; how many were there, for each. A second list holds a mark of the last call. A call that is made
again, because its answer was lost, finds its mark and drops nothing: it would drop equal values that nobody has seen.
KEYS: processing list, list of the mark. ARGV: mark, 1 if made again, values."""

GIVE_BACK: Final[Mapping[ReadFrom, str]] = {
    end: f"""
local found = {{}}
redis.call('LTRIM', KEYS[2], 0, -1)
for i = #ARGV, 1, -1 do
  redis.call('{push}', KEYS[1], ARGV[i])
  found[i] = redis.call('LREM', KEYS[2], -1, ARGV[i])
  if found[i] == 0 then redis.call('{pop}', KEYS[1]) end
end
return found
"""
    for end, push, pop in _ENDS
}
"""Put values back to the end that is read, the first one first again. The push comes first, and LTRIM before it, as in
`TAKE`. KEYS: list, processing list. ARGV: values."""

POSTPONE: Final = f"""
{_NOW}
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
if redis.call('LREM', KEYS[2], 1, ARGV[3]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[2])
  return {{0}}
end
return {{1}}
"""
"""Keep a copy for later instead of a value. KEYS: sorted set, processing list. ARGV: delay in ms, member, value."""

RETURN_DUE: Final[Mapping[ReadFrom, str]] = {
    end: f"""
{_NOW}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local left = redis.call('ZCARD', KEYS[1]) - #due
for i = #due, 1, -1 do
  redis.call('{push}', KEYS[2], string.sub(due[i], ARGV[2] + 1))
  redis.call('ZREM', KEYS[1], due[i])
end
{_FIRST_LEFT}
"""
    for end, push, _ in _ENDS
}
"""Put due copies to the end of the list that is read; the answer is the ms until the next is due, or -1.
KEYS: sorted set, list. ARGV: most, number of bytes that make a member unique and are cut off."""

ALIVE: Final = """
local known = 1 - redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
return known
"""
"""Sign a member in again; 0 if it was not signed in. KEYS: members, its heartbeat. ARGV: member, lease in ms."""

TAKE_OVER: Final[Mapping[ReadFrom, str]] = {
    end: f"""
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local moved = 0
while redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', '{end.upper()}') do moved = moved + 1 end
redis.call('LTRIM', KEYS[5], 1, 0)
redis.call('SREM', KEYS[4], ARGV[1])
return moved
"""
    for end, _, _ in _ENDS
}
"""Give the processing list of a member without heartbeat back to the end that is read, in order.
KEYS: list, processing list, heartbeat, members, list of the mark. ARGV: member."""

TAKE_OUT: Final = """
redis.call('LTRIM', KEYS[1], 0, -1)
local marked, first = 0, -1
for i = 2, #ARGV, 2 do
  local at = tonumber(ARGV[i])
  if at >= 0 and redis.call('LINDEX', KEYS[1], at) == ARGV[i + 1] then
    redis.call('LSET', KEYS[1], at, ARGV[1])
    if first < 0 then first = at end
    marked = marked + 1
  else
    redis.call('LREM', KEYS[1], 1, ARGV[i + 1])
  end
end
if marked > 0 then
  if first * 2 > redis.call('LLEN', KEYS[1]) then marked = -marked end
  redis.call('LREM', KEYS[1], marked, ARGV[1])
end
return marked
"""
"""Take values out of the middle: those that are where they were said to be are marked, and all marks go in one pass, which
begins at the nearer end. LTRIM as in `TAKE`. KEYS: list. ARGV: a mark that no value has, then index and value in turn."""
