-- What stands in no stream yet, or never will: timers and transactions, found by their message ids.

-- The due millisecond of a timer and the hour whose hash it is in (nil: the sorted set); nil where there is none.
local function find_timer(unit, id)
    local due = redis.call('ZSCORE', unit .. 'timers', id)
    if due then
        return due, nil
    end
    for _, hour in ipairs(redis.call('ZRANGE', unit .. 'hours', 0, -1)) do
        local found = redis.call('HGET', unit .. 'later:' .. hour, id)
        if found then
            return string.sub(found, 1, DUE_DIGITS), hour
        end
    end
    return nil
end

local function remove_timer(unit, id, hour)
    if hour then
        redis.call('HDEL', unit .. 'later:' .. hour, id)
        drop_empty_hour(unit, hour)
    else
        redis.call('ZREM', unit .. 'timers', id)
        redis.call('HDEL', unit .. 'timed', id)
    end
end

-- A transaction that has no end yet: `prepared` and when it is asked about next, or `parked` and since when; in ms, with
-- the number of checks made.
local function find_transaction(unit, id)
    local packed = redis.call('HGET', unit .. 'tx_checks', id)
    if not packed then
        return nil
    end
    local due, parked = redis.call('ZSCORE', unit .. 'tx_due', id), redis.call('ZSCORE', unit .. 'tx_parked', id)
    return {parked and 'parked' or 'prepared', parked or due, cmsgpack.unpack(packed)[4]}
end

local function find_end(unit, id)
    local ended = redis.call('GET', unit .. 'ended:' .. id)
    local state, ms = string.match(ended or '', '^(%S+) (%d+)')
    return ended and {state or ended, ms or '0', 0}
end

local function find(unit, id)
    local due = find_timer(unit, id)
    if due then
        return {'scheduled', due, 0}
    end
    return find_end(unit, id) or find_transaction(unit, id)
end

-- keys: the unit; args: message id
-- {state, ms, checks}: `scheduled` and when it is due; `prepared` and when its sender is asked next; `parked` and since
-- when; `stored` (it was due) or `committed` and when it came into its stream; `rolled-back` or `cancelled`. Nil where
-- nothing is known of it.
register('find', function(keys, args)
    return find(keys[1], args[1]) or false
end, {'no-writes'})

-- The state of what the change cannot touch.
local function state_of(unit, id)
    local found = find(unit, id)
    return found and found[1] or fail('UNKNOWN', 'no timer and no transaction of that id')
end

-- keys: the unit; args: message id, ms for which that is remembered, the broker's epoch
-- Returns the state that the message is in then: `cancelled`, also where it was before, or the one that forbids it.
register_fenced('cancel', function(keys, args)
    local unit, id = keys[1], args[1]
    local due, hour = find_timer(unit, id)
    if not due then
        return state_of(unit, id)
    end
    remove_timer(unit, id, hour)
    remember_end(unit, id, 'cancelled', args[2])
    return 'cancelled'
end, {'allow-oom'})

-- keys: the unit; args: message id, `commit` or `rollback`, the broker's epoch
-- Returns the state that the message is in then: the one that is wanted, also where it was before, or the other end.
register_fenced('tx_end', function(keys, args)
    local unit, id, verb = keys[1], args[1], args[2]
    if not ENDS[verb] then
        return fail('VERB', 'commit or rollback is wanted')
    end
    if redis.call('HEXISTS', unit .. 'tx', id) == 1 then
        return end_transaction(unit, id, verb)
    end
    return state_of(unit, id)
end, {'allow-oom'})

-- keys: the unit
-- How many timers stand in the sorted set, and in hours to come; how many transactions are prepared, and parked.
register('waiting', function(keys)
    local unit, later = keys[1], 0
    for _, hour in ipairs(redis.call('ZRANGE', unit .. 'hours', 0, -1)) do
        later = later + redis.call('HLEN', unit .. 'later:' .. hour)
    end
    return {redis.call('ZCARD', unit .. 'timers'), later, redis.call('ZCARD', unit .. 'tx_due'),
        redis.call('ZCARD', unit .. 'tx_parked')}
end, {'no-writes'})

-- keys: the unit; args: `prepared` or `parked`, how many at most
-- {message id, ms of the preparation, ms as `find` says, checks made, URL} of each, soonest or longest parked first.
register('tx_list', function(keys, args)
    local unit, list = keys[1], {}
    local set = unit .. (args[1] == 'parked' and 'tx_parked' or 'tx_due')
    local found = redis.call('ZRANGE', set, 0, tonumber(args[2]) - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
        local check = cmsgpack.unpack(redis.call('HGET', unit .. 'tx_checks', found[i]))
        list[#list + 1] = {found[i], check[3], tonumber(found[i + 1]), check[4], check[1]}
    end
    return list
end, {'no-writes'})
