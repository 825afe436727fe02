-- A unit's copy of a collection: filled from the origin's buckets, kept up by its log, held against its digests. One agent
-- of the unit at a time writes it, by the lease of the collection's `meta`.

local ENTRY_WORDS = 7 -- of an entry of the origin's log: seq, op, key, bucket, was, us, value
local ARGS_BEFORE = 2 -- epoch and owner

-- Registers a function of a copy's owner: callback(collection, meta, args).
local function register_copy(name, callback, flags)
    register(name, function(keys, args)
        local at = keys[1]
        local stale = check_epoch(unit_key(at, 'epoch'), args[1])
        local meta = read_meta(at)
        if stale or meta.state == 'origin' or meta.owner ~= args[2] then
            return stale or meta.state == 'origin' and fail('STATE', 'origin') or fail('LEASE', meta.owner)
        end
        return callback(at, meta, args)
    end, flags)
end

local function answer_of(meta)
    return {meta.seq, meta.state, meta.bad}
end

-- A copy whose log does not take what comes next, or that is behind where its making began, is none any more: somebody else
-- wrote into the log, or set the sequence back.
local function give_up(at)
    redis.call('HDEL', at .. 'meta', 'state', 'epoch')
    return fail('STATE', '')
end

-- Live is a copy that has all buckets and all that happened while they were read.
local function settle(meta)
    if meta.state == 'copying' and meta.copy_bucket == BUCKETS and meta.seq >= meta.copy_until then
        meta.state = 'live'
    end
end

-- keys: the collection; args: the broker's epoch, owner, the origin's sequence
-- Begins a copy anew, and closes it. What comes next is to fill it, and then the log behind that sequence. The buckets go when
-- they are filled: a million keys at once would stop the broker for some ms.
register_copy('c_wipe', function(at, _, args)
    redis.call('UNLINK', at .. 'keys', at .. 'log', at .. 'sums')
    redis.call('HDEL', at .. 'meta', 'epoch', 'beat_us', 'digest_seq', 'digest_ok')
    write_meta(at, {seq = tonumber(args[3]), state = 'copying'}, 'copy_from', args[3], 'copy_bucket', 0,
        'copy_until', args[3], 'bad', '')
    return redis.status_reply('OK')
end, {'allow-oom'})

-- Keys and values from args[first] to args[last], into a bucket that has none of them. Returns what they add to its sum.
local function fill_part(at, bucket, args, first, last)
    local list, sum = {}, 0
    for i = first, last, 2 do
        list[#list + 1], list[#list + 2] = 0, args[i]
        sum = (sum + share_of(args[i + 1])) % SUM_LIMIT
    end
    redis.call('HSET', at .. 'b/' .. bucket, unpack(args, first, last))
    use('ZADD', at .. 'keys', unpack(list))
    return sum
end

-- keys: the collection
-- args: the broker's epoch, owner, bucket, the sequence at which it was read, which part of it this is, key, value ...
-- Puts what c_bucket said of the origin's bucket in the place of what is there. Parts are `whole`, or `first`, `next` ... and
-- `last`, best not more than 256 values each. Buckets come in their order. Returns as c_apply.
register_copy('c_fill', function(at, meta, args)
    local bucket, part = tonumber(args[3]), args[5]
    if meta.state ~= 'copying' or bucket ~= meta.copy_bucket then
        return fail('STATE', meta.state .. ' ' .. meta.copy_bucket)
    end
    if part == 'whole' or part == 'first' then
        redis.call('UNLINK', at .. 'b/' .. bucket)
        set_sum(at, bucket, 0)
    end
    local sum = sum_of(at, bucket)
    for first = 6, #args, AT_ONCE do
        sum = (sum + fill_part(at, bucket, args, first, math.min(first + AT_ONCE - 1, #args))) % SUM_LIMIT
    end
    set_sum(at, bucket, sum)
    meta.copy_until = math.max(meta.copy_until, tonumber(args[4]))
    meta.copy_bucket = bucket + ((part == 'whole' or part == 'last') and 1 or 0)
    settle(meta)
    write_meta(at, meta, 'copy_bucket', meta.copy_bucket, 'copy_until', meta.copy_until)
    return answer_of(meta)
end)

-- The error for entries that do not follow upon each other and upon what is applied; nil where all do.
local function check_entries(applied, args)
    local have = applied
    for i = ARGS_BEFORE + 1, #args, ENTRY_WORDS do
        local seq, op, value = tonumber(args[i]), args[i + 1], args[i + 6]
        local change = op == 'put' or op == 'del'
        if not seq or not value or seq > have + (change and 1 or 0) then
            return fail('GAP', string.format('%.0f', applied))
        elseif change and ((op == 'put') ~= (#value >= VALUE_HEADER) or not is_bucket(args[i + 3])) then
            return fail('VALUE', args[i])
        elseif change and seq > have then
            have = seq
        end
    end
    return nil
end

-- A change that the origin made. While the copy is being made, its buckets are newer than the log here and there. Returns
-- whether the log took it.
local function apply_change(at, meta, seq, op, key, bucket, was, us, value)
    if is_error(add_change(at, seq, '0', op, key, bucket, was, us, value)) then
        return false
    end
    local old, share, version = look_up(at, bucket, key)
    if meta.state == 'live' or seq > version then
        set_value(at, bucket, key, old, share, value)
    end
    meta.seq = seq
    return true
end

-- The numbers of buckets in a text, with commas, as keys.
local function read_numbers(text)
    local numbers = {}
    for number in string.gmatch(text, '%d+') do
        numbers[tonumber(number)] = is_bucket(number) or nil
    end
    return numbers
end

local function write_numbers(numbers)
    local list = {}
    for number in pairs(numbers) do
        list[#list + 1] = number
    end
    table.sort(list)
    return table.concat(list, ',')
end

-- Compares all buckets with the origin's, both at the same sequence. Notes those that differ beside those that wait for their
-- repair.
local function compare_sums(at, meta, sums)
    local own, bad, equal = all_sums(at), read_numbers(meta.bad), 1
    if own ~= sums then
        for bucket = 0, BUCKETS - 1 do
            local from, to = SUM_BYTES * bucket + 1, SUM_BYTES * (bucket + 1)
            if string.sub(own, from, to) ~= string.sub(sums, from, to) then
                bad[bucket], equal = true, 0
            end
        end
    end
    meta.bad = write_numbers(bad)
    redis.call('HSET', at .. 'meta', 'digest_seq', meta.seq, 'digest_ok', equal, 'bad', meta.bad)
end

-- keys: the collection
-- args: the broker's epoch, owner, and of each entry of the origin's log: seq, op, key, bucket, was, us, value
-- Applies changes in their order; what is applied already is passed over. A digest at the very sequence is compared. Returns
-- the sequence that is applied then, the state, and the buckets that differ from the origin's, with commas.
register_copy('c_apply', function(at, meta, args)
    if meta.state ~= 'live' and (meta.state ~= 'copying' or meta.copy_bucket < BUCKETS) then
        return fail('STATE', meta.state)
    end
    if meta.seq < meta.copy_from then
        return give_up(at)
    end
    settle(meta)
    local gap, us = check_entries(meta.seq, args), nil
    for i = ARGS_BEFORE + 1, gap and 0 or #args, ENTRY_WORDS do
        local seq, op = tonumber(args[i]), args[i + 1]
        if seq == meta.seq + 1 then
            if not apply_change(at, meta, seq, op, unpack(args, i + 2, i + 6)) then
                return give_up(at)
            end
            settle(meta)
        elseif seq == meta.seq and op == 'digest' and meta.state == 'live' then
            compare_sums(at, meta, args[i + 6])
        end
        us = seq == meta.seq and args[i + 5] or us
    end
    if us then
        write_meta(at, meta, 'beat_us', us)
    end
    return gap or answer_of(meta)
end)

-- keys: the collection; args: the broker's epoch, owner, the origin's sequence
-- Lets readers in, for as long as the broker has this epoch: the copy holds all that the origin held when the caller asked.
register_copy('c_open', function(at, meta, args)
    if meta.state ~= 'live' or meta.seq < tonumber(args[3]) then
        return meta.state == 'live' and fail('GAP', string.format('%.0f', meta.seq)) or fail('STATE', meta.state)
    end
    redis.call('HSET', at .. 'meta', 'epoch', args[1])
    return redis.status_reply('OK')
end, {'allow-oom'})

local MOST_SINCE = 1000 -- changes between the reading of a bucket and its repair

-- The keys that were changed behind a sequence; nil where the log does not say it, or there are too many.
local function changed_since(at, meta, seq)
    local keys, last = {}, string.format('%.0f-0', seq + 1)
    local entries = seq < meta.seq and use('XRANGE', at .. 'log', last, '+', 'COUNT', MOST_SINCE) or {}
    if #entries == MOST_SINCE or seq > meta.seq or seq < meta.seq and (not entries[1] or entries[1][1] ~= last) then
        return nil
    end
    for _, entry in ipairs(entries) do
        keys[entry[2][4] or ''] = true
    end
    return keys
end

-- What has to be there, by key ('': nothing), of all that is not so.
local function find_wrong(own, theirs, changed)
    local wrong = {}
    for key, value in pairs(theirs) do
        if own[key] ~= value and not changed[key] then
            wrong[key] = value
        end
    end
    for key in pairs(own) do
        if theirs[key] == nil and not changed[key] then
            wrong[key] = ''
        end
    end
    return wrong
end

-- Lists every key of a bucket, for the list may lack some too.
local function list_keys(at, values)
    local words = {}
    for key in pairs(values) do
        words[#words + 1], words[#words + 2] = 0, key
        if #words == AT_ONCE then
            use('ZADD', at .. 'keys', unpack(words))
            words = {}
        end
    end
    if #words > 0 then
        use('ZADD', at .. 'keys', unpack(words))
    end
end

local function remove_bad(meta, bucket)
    local rest = read_numbers(meta.bad)
    rest[tonumber(bucket)] = nil
    meta.bad = write_numbers(rest)
end

-- keys: the collection; args: the broker's epoch, owner, bucket, the sequence at which it was read, key, value ...
-- Makes the bucket what c_bucket said of the origin's, and its sum what it is; keys that the log has changed since are left
-- alone. Each mended key stands in the log, for those who watch. Returns how many there were. LDC_AGAIN: read it again, the
-- copy has not got that far, or is too far ahead.
register_copy('c_repair', function(at, meta, args)
    local bucket, seq, theirs, count = args[3], tonumber(args[4]), {}, 0
    local changed = meta.state == 'live' and changed_since(at, meta, seq)
    if not changed then
        return meta.state == 'live' and fail('AGAIN', string.format('%.0f', meta.seq)) or fail('STATE', meta.state)
    end
    for i = 5, #args, 2 do
        theirs[args[i]] = args[i + 1]
    end
    local own, sum = read_bucket(at, bucket)
    for key, value in pairs(find_wrong(own, theirs, changed)) do
        local old = own[key] or ''
        local share, was = share_of(old)
        if is_error(add_change(at, meta.seq, '*', 'repair', key, bucket, was, now_us(), value)) then
            return give_up(at)
        end
        set_value(at, bucket, key, old, share, value)
        sum = (sum - share + share_of(value)) % SUM_LIMIT
        own[key] = value ~= '' and value or nil
        count = count + 1
    end
    set_sum(at, bucket, sum)
    list_keys(at, own)
    remove_bad(meta, bucket)
    local before = tonumber(redis.call('HGET', at .. 'meta', 'repaired') or '0') or 0
    write_meta(at, meta, 'bad', meta.bad, 'repaired', before + count)
    return count
end)

-- keys: the collection; args: the broker's epoch, numbers of buckets with commas
-- Has these buckets of a copy repaired by whoever owns it. Returns all that wait for that.
register('c_doubt', function(keys, args)
    local at = keys[1]
    local stale, meta = check_epoch(unit_key(at, 'epoch'), args[1]), read_meta(at)
    if stale or meta.state ~= 'live' then
        return stale or fail('STATE', meta.state)
    end
    meta.bad = write_numbers(read_numbers(meta.bad .. ',' .. args[2]))
    redis.call('HSET', at .. 'meta', 'bad', meta.bad)
    return meta.bad
end, {'allow-oom'})
