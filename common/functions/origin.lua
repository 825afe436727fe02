-- The origin of a collection: the one place where it is written. Its log says what happened, in an order that all copies
-- follow.

-- Registers a function that the caller's epoch must be right for: callback(collection, args).
local function register_origin(name, callback, flags)
    register(name, function(keys, args)
        return check_epoch(unit_key(keys[1], 'epoch'), args[1]) or callback(keys[1], args)
    end, flags)
end

-- Whether what stands there is not what the caller wants to change; `was` is its version, 0: there is nothing.
local function differs(condition, was)
    if condition == 'absent' then
        return was ~= 0
    elseif condition == 'present' then
        return was == 0
    end
    return condition ~= '' and was ~= tonumber(string.match(condition, '^match (%d+)$'))
end

local REMEMBERED = 65536 -- requests in one of the hashes `ids/0` to `ids/3`

-- Remembers a request's answer for as long as it may be repeated after a failover. The oldest of four hashes makes room.
local function remember_request(at, id, seq, created)
    local name = at .. 'ids/' .. math.floor(seq / REMEMBERED) % 4
    if seq % REMEMBERED == 0 then
        redis.call('UNLINK', name)
    end
    if id ~= '' then
        redis.call('HSET', name, id, string.format('%.0f %d', seq, created))
    end
end

local function find_request(at, id)
    for i = 0, 3 do
        local answer = redis.call('HGET', at .. 'ids/' .. i, id)
        if answer then
            local seq, created = string.match(answer, '(%d+) (%d)')
            return {tonumber(seq), tonumber(created)}
        end
    end
    return nil
end

-- With the version and the time of this write.
local function stamp_value(value, seq, us)
    return value == '' and '' or struct.pack('<BI8I8', 1, seq, tonumber(us)) .. string.sub(value, VALUE_STAMP + 1)
end

-- keys: the collection
-- args: the broker's epoch, key, its bucket, condition, the packed value ('': delete), the request's id
-- Writes a value. Conditions: '' none, `absent`, `present`, `match VERSION`. Returns {its version, 1 where the key is new},
-- {`conflict`, the version that stands there, 0: none}, or {`absent`} where there is nothing to delete.
local function put(at, args)
    local key, bucket, condition, value = args[2], args[3], args[4], args[5]
    local meta = redis.call('HMGET', at .. 'meta', 'seq', 'state')
    if meta[2] == 'copying' or meta[2] == 'live' then
        return fail('STATE', meta[2])
    elseif value ~= '' and #value < VALUE_HEADER or not is_bucket(bucket) then
        return fail('VALUE', #value .. ' ' .. bucket)
    end
    count_write(at) -- also where nothing is written: a WAIT behind it covers what was seen
    local old = look_up(at, bucket, key)
    local _, was = share_of(old)
    if differs(condition, was) then
        return {'conflict', was}
    elseif value == '' and old == '' then
        return {'absent'}
    end
    local seq, us, created = (tonumber(meta[1]) or 0) + 1, now_us(), was == 0 and 1 or 0
    value = stamp_value(value, seq, us)
    add_change(at, seq, '0', value ~= '' and 'put' or 'del', key, bucket, was, us, value)
    set_value(at, bucket, key, old, value)
    remember_request(at, args[6], seq, created)
    redis.call('HSET', at .. 'meta', 'seq', seq, 'state', 'origin')
    return {seq, created}
end

register_origin('c_put', put)

-- keys: the collection; args: the broker's epoch, key, its bucket
-- Returns the sequence and the packed value ('': none). Counts as a write, so that a WAIT behind it covers what it saw.
register_origin('c_get', function(at, args)
    count_write(at)
    return {sequence_of(at), look_up(at, args[3], args[2])}
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

-- keys: the collection; args: those of `c_put`. Does the same unless that request was done already, among the last 196,608
-- changes: then the answer is the same again.
register_origin('c_replay', function(at, args)
    local known = find_request(at, args[6])
    if known then
        count_write(at)
    end
    return known or put(at, args)
end)

-- keys: the collection; args: the broker's epoch
-- Says in the log that all until now is there: copies know by it how old they are. Only the last beat is kept.
register_origin('c_beat', function(at)
    local last, us = redis.call('HGET', at .. 'meta', 'beat'), now_us()
    local id = add_to_log(at, sequence_of(at), '*', 'op', 'beat', 'us', us)
    redis.call('HSET', at .. 'meta', 'beat', id, 'beat_us', us)
    if last then
        redis.call('XDEL', at .. 'log', last)
    end
    return id
end, {'allow-oom'})

local MOST_DIGESTS = 64

-- keys: the collection; args: the broker's epoch
-- Writes the sums of all buckets into the log, for all copies to compare. The last 64 are kept.
register_origin('c_digest', function(at)
    local us = now_us()
    local id = add_to_log(at, sequence_of(at), '*', 'op', 'digest', 'us', us, 'value', all_sums(at))
    redis.call('HSET', at .. 'meta', 'beat_us', us)
    if redis.call('RPUSH', at .. 'digests', id) > MOST_DIGESTS then
        redis.call('XDEL', at .. 'log', redis.call('LPOP', at .. 'digests'))
    end
    return id
end)

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
-- Removes from the log what all units have and is beyond that number (a tenth of it where more than half of the broker's
-- memory is used), and what is older than that time. Of a copy's log, too. Returns how many entries.
register_origin('c_trim', function(at, args)
    local seq, now, keep_us = sequence_of(at), tonumber(now_us()), tonumber(args[3]) * 1000
    local first = first_of_log(at, seq)
    local feed = math.ceil(tonumber(args[2]) / (is_memory_short() and 10 or 1))
    local passed = math.min(slowest(at, seq, now, keep_us), seq - feed)
    local bound = math.max(passed, sequence_at(at, now - keep_us, first, seq))
    if bound < first then
        return 0
    end
    return redis.call('XTRIM', at .. 'log', 'MINID', '~', string.format('%.0f-0', bound + 1), 'LIMIT', 10000)
end, {'allow-oom'})

-- keys: the collection; args: the broker's epoch, bucket
-- Makes the bucket's sum anew from what the bucket holds, for values that were changed by hand. Returns the sum.
register_origin('c_resum', function(at, args)
    local _, sum = read_bucket(at, args[2])
    set_sum(at, args[2], sum)
    return sum
end, {'allow-oom'})
