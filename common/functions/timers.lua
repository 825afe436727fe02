-- Messages that are due later. Those of the coming hour stand in the sorted set `timers` (by their due millisecond, rounded
-- up) with their values beside it in `timed`; later ones in a hash for each hour, `later:HOUR`, which costs less, and is
-- emptied into the first two ahead of its time. `hours` names the hours that there are.
--
-- All of this belongs to the unit and not to a partition, so that there is one place to look for what is due. Functions
-- get what the unit's keys begin with, "ldc:{UNIT}:", in place of the keys.

local HOUR_MS = 3600000
local DUE_DIGITS = 13 -- of milliseconds, before the values in `later`
local MOST_AT_ONCE = 32 -- moved by one call: a hundred would hold up everybody else for 2 ms
local VALUES = 11 -- of a message: the ten fields of the envelope, and the reply stream. Behind them, for how many ms its end
                  -- is remembered

local function now_ms()
    return math.floor(tonumber(now_us()) / 1000)
end

-- The stream and the state of the partition that a message id names.
local function partition_of(id)
    local unit, topic, number = string.match(id, '^([^.]+)%.([^.]+)%.(%d+)%.')
    local start = unit and 'ldc:{' .. unit .. '/' .. topic .. '/' .. number .. '}:' or ''
    return start .. 'stream', start .. 'state'
end

-- Before a message is put aside: later there is nobody to hear of an error.
local function check_id(stream, id)
    if partition_of(id) ~= stream then
        return fail('ID', 'the message id names another partition')
    end
    return nil
end

local function pack_message(args, at, remember_ms)
    local values = {unpack(args, at, at + VALUES - 1)}
    values[VALUES + 1] = remember_ms
    return cmsgpack.pack(values)
end

-- How a message that was put aside ended, for those who ask; where it is in its stream, with the entry's id.
local function remember_end(unit, id, state, remember_ms)
    redis.call('SET', unit .. 'ended:' .. id, state, 'PX', remember_ms)
end

-- Brings what pack_message has put aside into its partition.
local function publish(unit, packed, state)
    local values = cmsgpack.unpack(packed)
    local stream, partition_state = partition_of(values[1])
    local entry = add_message(stream, partition_state, values, 1)
    remember_end(unit, values[1], state .. ' ' .. entry, values[VALUES + 1])
end

local function add_near(unit, id, due_ms, packed)
    redis.call('HSET', unit .. 'timed', id, packed)
    redis.call('ZADD', unit .. 'timers', due_ms, id)
end

local function add_later(unit, id, due_ms, packed)
    local hour = math.floor(due_ms / HOUR_MS)
    redis.call('HSET', unit .. 'later:' .. hour, id, string.format('%013.0f', due_ms) .. packed)
    redis.call('ZADD', unit .. 'hours', hour, hour)
end

local function drop_empty_hour(unit, hour)
    if redis.call('EXISTS', unit .. 'later:' .. hour) == 0 then
        redis.call('ZREM', unit .. 'hours', hour)
    end
end

-- TEXT is microseconds since 1970, or "+" and how many from now.
local function due_of(text, now)
    return string.sub(text, 1, 1) == '+' and now + tonumber(text) or tonumber(text)
end

-- keys: stream, state, the unit's epoch, the unit [, idempotency]
-- args: as for enqueue, then when it is due, how far ahead the sorted set looks, for how long its end is remembered, in ms
-- Keeps a message until it is due. Returns the due millisecond; what is due already is stored at once, and returns its entry's id.
local function schedule(keys, args)
    local answer = find_replay(keys[5], args[4]) or check_entry(keys[2], keys[3], args[1], args[2]) or
        check_id(keys[1], args[5])
    if answer then
        return answer
    end
    count_write(keys[3])
    local now = tonumber(now_us())
    local due_us = due_of(args[16], now)
    remember(keys[5], args[4], args[5], args[3])
    if due_us <= now then
        return add_message(keys[1], keys[2], args, 5)
    end
    local due_ms = math.ceil(due_us / 1000)
    local near = math.floor(due_ms / HOUR_MS) * HOUR_MS <= now / 1000 + tonumber(args[17])
    local add = near and add_near or add_later
    add(keys[4], args[5], due_ms, pack_message(args, 5, args[18]))
    return string.format('%.0f', due_ms)
end

-- `keys` and `args` of a message that may have been scheduled: what was answered, or nil.
local function find_scheduled(keys, args)
    local unit, id, now = keys[4], args[5], tonumber(now_us())
    local ended, near = redis.call('GET', unit .. 'ended:' .. id), redis.call('ZSCORE', unit .. 'timers', id)
    if ended or near then
        return near or string.match(ended, '%d+-%d+$') or string.format('%.0f', now / 1000)
    end
    local hour = math.floor(due_of(args[16], now) / 1000 / HOUR_MS)
    for at = hour - 1, hour do -- what is due some time from now was due a bit earlier when it was scheduled
        local value = redis.call('HGET', unit .. 'later:' .. string.format('%.0f', at), id)
        if value then
            return string.sub(value, 1, DUE_DIGITS)
        end
    end
    return nil
end

register('schedule', schedule)
-- keys, args: the same, of a message that may be scheduled already
register('replay_schedule', replay_of(schedule, find_scheduled))

-- The first hour that there is, or nil.
local function first_hour(unit)
    return tonumber(redis.call('ZRANGE', unit .. 'hours', 0, 0)[1])
end

-- Moves some timers of an hour that begins before `horizon_ms` into the sorted set. Returns how many.
local function open_hour(unit, horizon_ms)
    local hour = first_hour(unit)
    if not hour or hour * HOUR_MS > horizon_ms then
        return 0
    end
    local later = unit .. 'later:' .. hour
    local found = redis.call('HRANDFIELD', later, MOST_AT_ONCE, 'WITHVALUES')
    for i = 1, #found, 2 do
        redis.call('HDEL', later, found[i])
        add_near(unit, found[i], string.sub(found[i + 1], 1, DUE_DIGITS), string.sub(found[i + 1], DUE_DIGITS + 1))
    end
    drop_empty_hour(unit, hour)
    return #found / 2
end

-- Stores messages that are due, in that order: an hour that is late waits until all of it is in the sorted set. Returns
-- how many.
local function store_due(unit, now)
    local hour = first_hour(unit)
    local last = hour and math.min(now, hour * HOUR_MS - 1) or now
    local ids = redis.call('ZRANGE', unit .. 'timers', '-inf', last, 'BYSCORE', 'LIMIT', 0, MOST_AT_ONCE)
    for _, id in ipairs(ids) do
        local packed = redis.call('HGET', unit .. 'timed', id)
        redis.call('ZREM', unit .. 'timers', id)
        redis.call('HDEL', unit .. 'timed', id)
        if packed then
            publish(unit, packed, 'stored')
        end
    end
    return #ids
end

-- When there is something to do next, in ms from now; -1: nothing waits.
local function next_due(unit, now, near_ms)
    local timer, hour = redis.call('ZRANGE', unit .. 'timers', 0, 0, 'WITHSCORES')[2], first_hour(unit)
    local at = math.min(tonumber(timer) or math.huge, hour and hour * HOUR_MS - near_ms or math.huge)
    return at == math.huge and -1 or math.max(at - now, 0)
end

-- keys: the unit; args: how far ahead the sorted set looks, in ms
-- Returns how many messages were stored, and in how many ms there is more to do: 0 at once, -1 nothing waits. Whoever
-- calls it, and how often: no message is stored early, or twice.
register('due', function(keys, args)
    local unit, now, near_ms = keys[1], now_ms(), tonumber(args[1])
    open_hour(unit, now + near_ms)
    return {store_due(unit, now), next_due(unit, now, near_ms)}
end, {'allow-oom'})
