-- The origin of a collection: the one place where it is written. Its log says what happened, in an order that all copies
-- follow.

-- Registers a function that the caller's epoch must be right for: callback(collection, args).
local function register_origin(name, callback, flags)
    register(name, function(keys, args)
        return check_epoch(unit_key(keys[1], 'epoch'), args[1]) or callback(keys[1], args)
    end, flags)
end

local CONDITIONS = {['absent'] = 'match 0', ['present'] = 'none 0'}

-- Whether what stands there is not what the caller wants to change; `was` is its version, 0: there is nothing.
local function differs(condition, was)
    if condition == '' then
        return false
    end
    local kind, versions = string.match(CONDITIONS[condition] or condition, '^(%a+)([ %d]*)$')
    local listed = false
    for version in string.gmatch(versions or '', '%d+') do
        listed = listed or tonumber(version) == was
    end
    return kind ~= 'none' and not listed or kind == 'none' and listed
end

local REMEMBERED = 65536 -- requests in one of the hashes
local IDS = {'ids/0', 'ids/1', 'ids/2', 'ids/3'}

-- Remembers a request's answer for as long as it may be repeated. The oldest of four hashes makes room.
local function remember_request(at, id, print, seq, created)
    local name = at .. IDS[math.floor(seq / REMEMBERED) % #IDS + 1]
    if seq % REMEMBERED == 0 then
        redis.call('UNLINK', name)
    end
    if id ~= '' then
        use('HSET', name, id, string.format('%d %d', seq, created) .. (print and ' ' .. print or ''))
    end
end

local function find_request(at, id, print)
    for i = 1, #IDS do
        local answer = use('HGET', at .. IDS[i], id)
        if answer then
            local seq, created, was = string.match(answer, '(%d+) (%d) ?(.*)')
            return was == (print or '') and {tonumber(seq), tonumber(created), 1} or fail('CONFLICT', seq)
        end
    end
    return nil
end

-- With the version and the time of this write.
local function stamp_value(value, seq, us)
    return value == '' and '' or struct.pack('<BI8I8', 1, seq, tonumber(us)) .. string.sub(value, VALUE_STAMP + 1)
end

-- keys: the collection
-- args: the broker's epoch, key, its bucket, condition, the packed value ('': delete), the request's id ['': none], and, if
-- its client may use it again, the request's fingerprint
-- Writes a value. Conditions: '' none; `match V ...`: the version is one of these; `none V ...`: it is none of these, where 0
-- stands for no value; `absent`: `match 0`; `present`: `none 0`. Returns {its version, 1 where the key is new}, {`conflict`, the
-- version that stands there, 0: none}, or {`absent`, the sequence} where there is nothing to delete.
local function put(at, args)
    local key, bucket, condition, value = args[2], args[3], args[4], args[5]
    local meta = redis.call('HMGET', at .. 'meta', 'seq', 'state')
    if meta[2] == 'copying' or meta[2] == 'live' then
        return fail('STATE', meta[2])
    elseif value ~= '' and #value < VALUE_HEADER or not is_bucket(bucket) then
        return fail('VALUE', #value .. ' ' .. bucket)
    end
    count_write(at) -- also where nothing is written: a WAIT behind it covers what was seen
    local old, share, was = look_up(at, bucket, key)
    if differs(condition, was) then
        return {'conflict', was}
    elseif value == '' and old == '' then
        return {'absent', tonumber(meta[1]) or 0}
    end
    local seq, us, created = (tonumber(meta[1]) or 0) + 1, now_us(), was == 0 and 1 or 0
    value = stamp_value(value, seq, us)
    local id = add_change(at, seq, '0', value ~= '' and 'put' or 'del', key, bucket, was, us, value)
    if is_error(id) then -- the next beat finds where the log goes on
        return id
    end
    set_value(at, bucket, key, old, share, value)
    remember_request(at, args[6], args[7], seq, created)
    redis.call('HSET', at .. 'meta', 'seq', seq, 'state', 'origin')
    return {seq, created}
end

register_origin('c_put', put)

-- keys: the collection; args: the broker's epoch, key, its bucket
-- Returns the sequence and the packed value ('': none). Counts as a write, so that a WAIT behind it covers what it saw.
register_origin('c_get', function(at, args)
    count_write(at)
    return {sequence_of(at), (look_up(at, args[3], args[2]))}
end, {'allow-oom'})

-- keys: the collection; args: the broker's epoch, two bounds as ZRANGEBYLEX takes them, how many keys at most
-- Returns the sequence and the keys between. Counts as a write, so that a WAIT behind it covers what it saw.
register_origin('c_list', function(at, args)
    count_write(at)
    return {sequence_of(at), use('ZRANGEBYLEX', at .. 'keys', args[2], args[3], 'LIMIT', 0, args[4])}
end, {'allow-oom'})

-- The last change that the log had at a time, among those from `first` to `last`; first - 1: there was none.
local function sequence_at(at, us, first, last)
    while first <= last do
        local middle = math.floor((first + last) / 2)
        local entry = use('XRANGE', at .. 'log', string.format('%.0f', middle), '+', 'COUNT', 1)[1]
        if entry and (tonumber(fields_of(entry).us) or 0) <= us then
            first = middle + 1
        else
            last = middle - 1
        end
    end
    return last
end

-- The number of the first change that the log still has.
local function first_of_log(at, seq)
    local entry = use('XRANGE', at .. 'log', '-', '+', 'COUNT', 1)[1]
    return entry and tonumber(string.match(entry[1], '^%d+')) or seq + 1
end

-- keys: the collection; args: those of `c_put`
-- Does the same unless that request was done already, among the last 196,608 changes: then the answer is the same again, with
-- 1 behind it; or `LDC_CONFLICT` where the fingerprint is another one.
register_origin('c_replay', function(at, args)
    local known = find_request(at, args[6], args[7])
    if known then
        count_write(at)
    end
    return known or put(at, args)
end)

-- The log is what all copies follow. Where it has gone further than `meta` says, one of the two was changed by hand, and the
-- sequence goes on behind the log.
local function recall_sequence(at)
    local log = fields_of({'', redis.call('XINFO', 'STREAM', at .. 'log')})
    local seq = string.match(log['last-generated-id'], '^%d+')
    redis.call('HSET', at .. 'meta', 'seq', seq, 'state', 'origin')
    return tonumber(seq)
end

-- What no function wrote there would keep writers out for good. What was ever made as a copy says from where.
local function mend_state(at)
    local meta = redis.call('HMGET', at .. 'meta', 'seq', 'state', 'copy_from')
    if meta[1] and meta[2] ~= 'origin' and not meta[3] then
        redis.call('HSET', at .. 'meta', 'state', 'origin')
    end
end

-- keys: the collection; args: the broker's epoch
-- Says in the log that all until now is there: copies know by it how old they are. Only the last beat is kept. Returns its id;
-- and behind it, where `meta` did not know how far the log was, the sequence that it said.
register_origin('c_beat', function(at)
    local seq, us, forgotten = sequence_of(at), now_us(), nil
    local last, id = redis.call('HGET', at .. 'meta', 'beat'), add_to_log(at, seq, '*', 'op', 'beat', 'us', us)
    mend_state(at)
    if is_error(id) then
        forgotten = seq
        id = add_to_log(at, recall_sequence(at), '*', 'op', 'beat', 'us', us)
    end
    redis.call('HSET', at .. 'meta', 'beat', id, 'beat_us', us)
    if last then
        redis.call('XDEL', at .. 'log', last)
    end
    return {id, forgotten}
end, {'allow-oom'})

local MOST_DIGESTS = 64

-- keys: the collection; args: the broker's epoch
-- Writes the sums of all buckets into the log, for all copies to compare. The last 64 are kept.
register_origin('c_digest', function(at)
    local us = now_us()
    local id = add_to_log(at, sequence_of(at), '*', 'op', 'digest', 'us', us, 'value', all_sums(at))
    if is_error(id) then
        return id
    end
    redis.call('HSET', at .. 'meta', 'beat_us', us)
    if use('RPUSH', at .. 'digests', id) > MOST_DIGESTS then
        redis.call('XDEL', at .. 'log', redis.call('LPOP', at .. 'digests'))
    end
    return id
end)

local CROWDED = 0.8 -- of the broker's memory

-- When a unit's agent wrote a report, and the sequence in it; nil where it is none.
local function read_report(text)
    local known, report = pcall(cjson.decode, text)
    if not known or type(report) ~= 'table' then
        return nil
    end
    return tonumber(report.at_us), tonumber(report.seq)
end

-- The sequence of the slowest unit that was heard of within `keep_us`.
local function slowest(at, seq, now, keep_us)
    for _, text in ipairs(use('HVALS', at .. 'units')) do
        local told_us, told = read_report(text)
        if told_us and told and told_us >= now - keep_us then
            seq = math.min(seq, told)
        end
    end
    return seq
end

-- keys: the collection; args: the broker's epoch, how many changes stay, for how many ms changes wait for units that are away
-- Removes from the log what all units have and is beyond that number (a tenth of it where more than half of the broker's
-- memory is used), and what is older than that time. Where more than four fifths are used, no unit is waited for: writers need
-- the room. Of a copy's log, too. Returns how many entries.
register_origin('c_trim', function(at, args)
    local seq, now, keep_us = sequence_of(at), tonumber(now_us()), tonumber(args[3]) * 1000
    local first = first_of_log(at, seq)
    local feed = math.ceil(tonumber(args[2]) / (is_memory_short() and 10 or 1))
    local waited_for = memory_share() > CROWDED and seq or slowest(at, seq, now, keep_us)
    local passed = math.min(waited_for, seq - feed)
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
