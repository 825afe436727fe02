-- Collections of global data: what stands in their origin and in their copies alike. docs/COLLECTIONS.md describes it.
--
-- Each function has one key, "ldc:{UNIT}:c/COLLECTION/", in place of all that begin with it, and the broker's epoch as its
-- first argument. Packed values are made and checked by common/collection_value.c; here they get their version and time.

local BUCKETS = 1024
local VALUE_HEADER = 27 -- bytes before the type
local VALUE_STAMP = 17 -- of these: format, version, time
local SUM_LIMIT = 2 ^ 48 -- taken at each step: a double is exact up to 2^53
local AT_ONCE = 256 -- words that are unpacked into one call

-- What a packed value adds to its bucket's sum, and its version. Whatever else stands there, put by hand, adds nothing.
local function share_of(packed)
    if #packed < VALUE_HEADER then
        return 0, 0
    end
    local version, check = struct.unpack('<xI8xxxxxxxxI6', packed)
    local factor = check % 2 ^ 20
    factor = factor % 2 == 0 and factor + 1 or factor
    return (check + version % 2 ^ 32 * factor) % SUM_LIMIT, version
end

local function is_error(answer)
    return type(answer) == 'table' and answer.err ~= nil
end

-- What a command says behind an error. Where a key of another type was put in the place of one of the collection's by hand,
-- that goes: what it was put over is lost in any case, and sums, sequences and rounds tell what is missing.
local function try_again(failed, command, name, ...)
    if not string.find(failed.err, 'WRONGTYPE', 1, true) then
        return failed
    end
    redis.call('UNLINK', name)
    return redis.pcall(command, name, ...)
end

-- What a command says of one of a collection's keys, or its error.
local function try(command, name, ...)
    local answer = redis.pcall(command, name, ...)
    return is_error(answer) and try_again(answer, command, name, ...) or answer
end

-- The same where an error ends the call. Each change goes through here many times: nothing is wrapped in anything.
local function use(command, name, ...)
    local answer = redis.pcall(command, name, ...)
    if type(answer) == 'table' and answer.err then
        answer = try_again(answer, command, name, ...)
        if is_error(answer) then
            error(answer)
        end
    end
    return answer
end

local META = {'seq', 'state', 'owner', 'copy_from', 'copy_bucket', 'copy_until', 'bad'}
local META_NUMBERS = {seq = true, copy_from = true, copy_bucket = true, copy_until = true}

local function read_meta(at)
    local values, meta = use('HMGET', at .. 'meta', unpack(META)), {}
    for i, name in ipairs(META) do
        meta[name] = META_NUMBERS[name] and (tonumber(values[i] or '0') or 0) or values[i] or ''
    end
    return meta
end

local function sequence_of(at)
    return tonumber(use('HGET', at .. 'meta', 'seq') or '0') or 0
end

local function write_meta(at, meta, ...)
    redis.call('HSET', at .. 'meta', 'seq', meta.seq, 'state', meta.state, ...)
end

local SUM_BYTES = 6

-- Their first and last bytes, by the bucket's number as a text, made when it is first asked for: to make such texts anew each
-- time takes longer than to read what stands there.
local FIRST, LAST = {}, {}

local function place_of(bucket)
    if not FIRST[bucket] then
        bucket = string.format('%d', bucket)
        FIRST[bucket] = string.format('%d', bucket * SUM_BYTES)
        LAST[bucket] = string.format('%d', bucket * SUM_BYTES + SUM_BYTES - 1)
    end
    return FIRST[bucket], LAST[bucket]
end

-- The sums of all buckets stand in one string: a digest is that string, and takes microseconds.
local function sum_of(at, bucket)
    local bytes = use('GETRANGE', at .. 'sums', place_of(bucket))
    return #bytes == SUM_BYTES and struct.unpack('<I6', bytes) or 0
end

local function set_sum(at, bucket, sum)
    local first = place_of(bucket)
    use('SETRANGE', at .. 'sums', first, struct.pack('<I6', sum))
end

local function all_sums(at)
    local sums = use('GET', at .. 'sums') or ''
    return sums .. string.rep('\0', BUCKETS * SUM_BYTES - #sums)
end

local function is_bucket(text)
    local bucket = tonumber(text)
    return bucket and bucket >= 0 and bucket < BUCKETS
end

-- The packed value under a key ('': none), its share and its version.
local function look_up(at, bucket, key)
    local packed = use('HGET', at .. 'b/' .. bucket, key) or ''
    return packed, share_of(packed)
end

-- Puts a packed value ('': none) in the place of `old`, which has that share, and keeps sum and list.
local function set_value(at, bucket, key, old, old_share, value)
    if value ~= '' then
        redis.call('HSET', at .. 'b/' .. bucket, key, value)
    else
        redis.call('HDEL', at .. 'b/' .. bucket, key)
    end
    if old == '' and value ~= '' then
        use('ZADD', at .. 'keys', 0, key)
    elseif value == '' then -- the list may have what an interrupted filling left
        use('ZREM', at .. 'keys', key)
    end
    set_sum(at, bucket, (sum_of(at, bucket) - old_share + share_of(value)) % SUM_LIMIT)
end

-- Adds an entry to the log: SUFFIX 0 for the change that has this number, * for what comes behind it, also where the change
-- itself is not there, since the copy was made anew. Returns its id, or an error: the log has more than this sequence already,
-- so that one of them was changed by hand.
local function add_to_log(at, seq, suffix, ...)
    if suffix == '*' and redis.call('EXISTS', at .. 'log') == 0 then
        suffix = '1'
    end
    return try('XADD', at .. 'log', string.format('%d-%s', seq, suffix), ...)
end

local function add_change(at, seq, suffix, op, key, bucket, was, us, value)
    return add_to_log(at, seq, suffix, 'op', op, 'key', key, 'bucket', bucket, 'was', was, 'us', us, 'value', value)
end

-- The values of a bucket by their keys, and the sum that they make.
local function read_bucket(at, bucket)
    local flat, values, sum = use('HGETALL', at .. 'b/' .. bucket), {}, 0
    for i = 1, #flat, 2 do
        values[flat[i]] = flat[i + 1]
        sum = (sum + share_of(flat[i + 1])) % SUM_LIMIT
    end
    return values, sum
end

-- keys: the collection; args: bucket
-- Returns the sequence, and of the bucket at this moment: its sum, and key, packed value, key, packed value ...
register('c_bucket', function(keys, args)
    return {sequence_of(keys[1]), sum_of(keys[1], args[1]), redis.call('HGETALL', keys[1] .. 'b/' .. args[1])}
end, {'no-writes'})

-- keys: the collection
-- Returns, all of one moment: `meta`, the sums of all buckets, how many keys are listed, how many entries the log has, and the
-- broker's time in microseconds.
register('c_look', function(keys)
    local at = keys[1]
    return {redis.call('HGETALL', at .. 'meta'), all_sums(at), redis.call('ZCARD', at .. 'keys'),
        redis.call('XLEN', at .. 'log'), now_us()}
end, {'no-writes'})

-- keys: the collection; args: the broker's epoch, key, its bucket, key, its bucket ...
-- Lists each of the keys where its bucket has it, with the score 0, and takes it from the list where not. Returns how many
-- that changed.
register('c_relist', function(keys, args)
    local at, count = keys[1], 0
    local stale = check_epoch(unit_key(at, 'epoch'), args[1])
    for i = 2, stale and 0 or #args, 2 do
        local there = look_up(at, args[i + 1], args[i]) ~= ''
        local change = there and {'ZADD', at .. 'keys', 'CH', 0, args[i]} or {'ZREM', at .. 'keys', args[i]}
        count = count + use(unpack(change))
    end
    return stale or count
end, {'allow-oom'})
