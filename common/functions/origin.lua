-- The origin of a collection: the one place where it is written. Its log says what happened, in an order that all copies
-- follow.

-- Whether what stands there is not what the caller wants to change; `was` is its version, 0: there is nothing.
local function differs(condition, was)
    if condition == 'absent' then
        return was ~= 0
    elseif condition == 'present' then
        return was == 0
    end
    return condition ~= '' and was ~= tonumber(string.match(condition, '^match (%d+)$'))
end

-- With the version and the time of this write.
local function stamp_value(value, seq, us)
    return value == '' and '' or struct.pack('<BI8I8', 1, seq, tonumber(us)) .. string.sub(value, VALUE_STAMP + 1)
end

-- keys: the collection
-- args: the broker's epoch, key, its bucket, condition, the packed value ('': delete), the request's id
-- Writes a value. Conditions: '' none, `absent`, `present`, `match VERSION`. Returns {its version, 1 where the key is new},
-- {`conflict`, the version that stands there, 0: none}, or {`absent`} where there is nothing to delete.
local function put(keys, args)
    local at, key, bucket, condition, value = keys[1], args[2], args[3], args[4], args[5]
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    local meta = read_meta(at)
    if stale or meta.state == 'copying' or meta.state == 'live' then
        return stale or fail('STATE', meta.state)
    elseif value ~= '' and #value < VALUE_HEADER then
        return fail('VALUE', #value)
    end
    count_write(at)
    local old, sum = look_up(at, bucket, key)
    local _, was = share_of(old)
    if differs(condition, was) then
        return {'conflict', was}
    elseif value == '' and old == '' then
        return {'absent'}
    end
    local us = now_us()
    meta.seq, meta.state = meta.seq + 1, 'origin'
    value = stamp_value(value, meta.seq, us)
    add_change(at, meta.seq, '0', args[6], value ~= '' and 'put' or 'del', key, bucket, was, us, value)
    set_value(at, bucket, key, old, sum, value)
    write_meta(at, meta, 'beat_us', us)
    return {meta.seq, was == 0 and 1 or 0}
end

register('c_put', put)

-- keys: the collection; args: the broker's epoch, key, its bucket
-- Returns the sequence and the packed value ('': none). It counts as a write, so that a WAIT behind it covers all that it saw.
register('c_get', function(keys, args)
    local stale = check_epoch(unit_key(keys[1], 'epoch'), args[1])
    if stale then
        return stale
    end
    count_write(keys[1])
    return {read_meta(keys[1]).seq, (look_up(keys[1], args[3], args[2]))}
end, {'allow-oom'})

-- The last change that the log had at a time, among those from `first` to `last`; first - 1: there was none.
local function sequence_at(at, us, first, last)
    while first <= last do
        local middle = math.floor((first + last) / 2)
        local entry = redis.call('XRANGE', at .. 'log', string.format('%.0f', middle), '+', 'COUNT', 1)[1]
        if entry and tonumber(fields_of(entry).us) <= us then
            first = middle + 1
        else
            last = middle - 1
        end
    end
    return last
end

-- The number of the first change that the log still has.
local function first_of_log(at, seq)
    local entry = redis.call('XRANGE', at .. 'log', '-', '+', 'COUNT', 1)[1]
    return entry and tonumber(string.match(entry[1], '^%d+')) or seq + 1
end

-- keys: the collection; args: those of `c_put`, then the microsecond at which the gateway had the request
-- Does the same unless it was done already: then the answer is the same again.
register('c_replay', function(keys, args)
    local at = keys[1]
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    if stale then
        return stale
    end
    local seq = read_meta(at).seq
    local from = sequence_at(at, tonumber(args[7]) - SCAN_BACK_MS * 1000, first_of_log(at, seq), seq) + 1
    local id = find_entry(at .. 'log', args[6], from)
    if not id then
        return put(keys, args)
    end
    count_write(at)
    local fields = fields_of(redis.call('XRANGE', at .. 'log', id, id)[1])
    return {tonumber(string.match(id, '^%d+')), fields.was == '0' and 1 or 0}
end)

-- keys: the collection; args: the broker's epoch
-- Says in the log that all until now is there: copies know by it how old they are. Only the last beat is kept.
register('c_beat', function(keys, args)
    local at = keys[1]
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    if stale then
        return stale
    end
    local last, us = redis.call('HGET', at .. 'meta', 'beat'), now_us()
    local id = add_to_log(at, read_meta(at).seq, '*', 'id', '', 'op', 'beat', 'us', us)
    redis.call('HSET', at .. 'meta', 'beat', id, 'beat_us', us)
    if last then
        redis.call('XDEL', at .. 'log', last)
    end
    return id
end, {'allow-oom'})

local MOST_DIGESTS = 64

-- keys: the collection; args: the broker's epoch
-- Writes the sums of all buckets into the log, for all copies to compare. The last 64 are kept.
register('c_digest', function(keys, args)
    local at = keys[1]
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    if stale then
        return stale
    end
    local us = now_us()
    local id = add_to_log(at, read_meta(at).seq, '*', 'id', '', 'op', 'digest', 'us', us, 'value', all_sums(at))
    redis.call('HSET', at .. 'meta', 'beat_us', us)
    if redis.call('RPUSH', at .. 'digests', id) > MOST_DIGESTS then
        redis.call('XDEL', at .. 'log', redis.call('LPOP', at .. 'digests'))
    end
    return id
end)

local REPLAYED_US = 60000000 -- for so long a request may be replayed

-- The sequence of the slowest unit that was heard of within `keep_us`.
local function slowest(at, seq, now, keep_us)
    for _, text in ipairs(redis.call('HVALS', at .. 'units')) do
        local known, report = pcall(cjson.decode, text)
        if known and tonumber(report.at_us or 0) >= now - keep_us then
            seq = math.min(seq, tonumber(report.seq or 0))
        end
    end
    return seq
end

-- keys: the collection; args: the broker's epoch, how many changes stay, for how many ms changes wait for units that are away
-- Removes from the log what all units have and is beyond that number, and what is older than that time. Of a copy's log, too.
-- Returns how many entries.
register('c_trim', function(keys, args)
    local at = keys[1]
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    if stale then
        return stale
    end
    local seq, now, keep_us = read_meta(at).seq, tonumber(now_us()), tonumber(args[3]) * 1000
    local first = first_of_log(at, seq)
    local passed = math.min(slowest(at, seq, now, keep_us), seq - tonumber(args[2]))
    local bound = math.max(passed, sequence_at(at, now - keep_us, first, seq))
    bound = math.min(bound, sequence_at(at, now - REPLAYED_US, first, seq))
    if bound < first then
        return 0
    end
    return redis.call('XTRIM', at .. 'log', 'MINID', '~', string.format('%.0f-0', bound + 1), 'LIMIT', 10000)
end, {'allow-oom'})
