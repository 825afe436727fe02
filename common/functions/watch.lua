-- The change feed of a collection: what a log says to those who only want to know what has changed.

local LOOKED_AT_ONCE = 16 -- entries: their values, of any size, are in memory together
local MOST_VALUE_BYTES = 2 ^ 20 -- of the values that one call passes over

local CHANGES = {put = true, del = true, repair = true}

-- Appends id, op, key, version, `was` and time of an entry that is a change; a repair's version is that of the value. What
-- lacks one of these stands there by hand.
local function add_feed_entry(words, entry)
    local fields = fields_of(entry)
    if not (CHANGES[fields.op] and fields.key and fields.was and fields.us and fields.value) then
        return 0
    end
    local version = string.match(entry[1], '^%d+')
    if fields.op == 'repair' then
        local _, stamped = share_of(fields.value)
        version = string.format('%.0f', stamped)
    end
    for _, word in ipairs({entry[1], fields.op, fields.key, version, fields.was, fields.us}) do
        words[#words + 1] = word
    end
    return #fields.value
end

local function changes_behind(at, last, left)
    local meta, bytes = redis.call('HMGET', at .. 'meta', 'seq', 'state', 'epoch', 'copy_from', 'beat_us'), 0
    local words = {tonumber(meta[1] or '0'), last, meta[2] or '', meta[3] or '', meta[4] or '', meta[5] or ''}
    while left > 0 and bytes < MOST_VALUE_BYTES do
        local count = math.min(left, LOOKED_AT_ONCE)
        local entries = redis.call('XRANGE', at .. 'log', '(' .. words[2], '+', 'COUNT', count)
        for _, entry in ipairs(entries) do
            bytes = bytes + add_feed_entry(words, entry)
            words[2] = entry[1]
        end
        left = #entries == count and left - count or 0
    end
    return words
end

-- keys: the collection; args: the entry id behind which to begin, how many entries are looked at
-- What a copy's log says since, without the values. Returns the sequence, the last entry that was looked at, the state, the
-- epoch for which the copy is open, the sequence at which its making began, when its last change or beat was made, and of each
-- change id, op, key, version (0: a repair removed it), the version before, microseconds. Where values are large, fewer entries
-- are looked at.
register('c_changes', function(keys, args)
    return changes_behind(keys[1], args[1], tonumber(args[2]))
end, {'no-writes'})

-- keys: the collection; args: the broker's epoch, then as for c_changes
-- The same of the origin. Counts as a write, so that a WAIT behind it covers what it saw.
register_origin('c_origin_changes', function(at, args)
    count_write(at)
    return changes_behind(at, args[2], tonumber(args[3]))
end, {'allow-oom'})
