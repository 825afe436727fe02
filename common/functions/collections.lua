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
    local _, version, _, check = struct.unpack('<BI8I8I6', packed)
    local factor = check % 2 ^ 20
    factor = factor % 2 == 0 and factor + 1 or factor
    return (check + version % 2 ^ 32 * factor) % SUM_LIMIT, version
end

local META = {'seq', 'state', 'owner', 'copy_bucket', 'copy_until', 'bad'}
local META_NUMBERS = {seq = true, copy_bucket = true, copy_until = true}

local function read_meta(at)
    local values, meta = redis.call('HMGET', at .. 'meta', unpack(META)), {}
    for i, name in ipairs(META) do
        meta[name] = META_NUMBERS[name] and tonumber(values[i] or '0') or values[i] or ''
    end
    return meta
end

local function sequence_of(at)
    return tonumber(redis.call('HGET', at .. 'meta', 'seq') or '0')
end

local function write_meta(at, meta, ...)
    redis.call('HSET', at .. 'meta', 'seq', meta.seq, 'state', meta.state, ...)
end

local SUM_BYTES = 6

-- The sums of all buckets stand in one string: a digest is that string, and takes microseconds.
local function sum_of(at, bucket)
    local bytes = redis.call('GETRANGE', at .. 'sums', bucket * SUM_BYTES, bucket * SUM_BYTES + SUM_BYTES - 1)
    return #bytes == SUM_BYTES and struct.unpack('<I6', bytes) or 0
end

local function set_sum(at, bucket, sum)
    redis.call('SETRANGE', at .. 'sums', bucket * SUM_BYTES, struct.pack('<I6', sum))
end

local function all_sums(at)
    local sums = redis.call('GET', at .. 'sums') or ''
    return sums .. string.rep('\0', BUCKETS * SUM_BYTES - #sums)
end

local function is_bucket(text)
    local bucket = tonumber(text)
    return bucket and bucket >= 0 and bucket < BUCKETS
end

-- The packed value under a key; '': none.
local function look_up(at, bucket, key)
    return redis.call('HGET', at .. 'b/' .. bucket, key) or ''
end

-- Puts a packed value ('': none) in the place of `old`, and keeps sum and list.
local function set_value(at, bucket, key, old, value)
    if value ~= '' then
        redis.call('HSET', at .. 'b/' .. bucket, key, value)
    else
        redis.call('HDEL', at .. 'b/' .. bucket, key)
    end
    if old == '' and value ~= '' then
        redis.call('ZADD', at .. 'keys', 0, key)
    elseif value == '' then -- the list may have what an interrupted filling left
        redis.call('ZREM', at .. 'keys', key)
    end
    set_sum(at, bucket, (sum_of(at, bucket) - share_of(old) + share_of(value)) % SUM_LIMIT)
end

-- Adds an entry to the log: SUFFIX 0 for the change that has this number, * for what comes behind it.
local function add_to_log(at, seq, suffix, ...)
    return redis.call('XADD', at .. 'log', string.format('%.0f-%s', seq, suffix), ...)
end

local function add_change(at, seq, suffix, op, key, bucket, was, us, value)
    return add_to_log(at, seq, suffix, 'op', op, 'key', key, 'bucket', bucket, 'was', was, 'us', us, 'value', value)
end

-- The values of a bucket by their keys, and the sum that they make.
local function read_bucket(at, bucket)
    local flat, values, sum = redis.call('HGETALL', at .. 'b/' .. bucket), {}, 0
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
