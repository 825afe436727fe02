-- Adds the message whose ten fields begin at args[at], behind which its reply stream stands, to a partition.
-- n counts the messages of the partition without a gap. Returns the entry's id.
local function add_message(stream, state, args, at)
    local n = redis.call('HINCRBY', state, 'n', 1)
    return redis.call('XADD', stream, '*', 'id', args[at], 'user', args[at + 1], 'slot', args[at + 2],
        'epoch', args[at + 3], 'in_us', args[at + 4], 'color', args[at + 5], 'method', args[at + 6],
        'path', args[at + 7], 'headers', args[at + 8], 'body', args[at + 9], 'n', n, 'st_us', now_us(),
        'reply', args[at + 10])
end

-- Whether a message may come in: nil, or the error that says why not.
local function check_entry(state, epoch_key, epoch, max_backlog)
    local stale = check_epoch(epoch_key, epoch)
    if stale then
        return stale
    end
    if max_backlog ~= '0' then
        local counts = redis.call('HMGET', state, 'n', 'floor')
        if (counts[1] or 0) - (counts[2] or 0) >= tonumber(max_backlog) then
            return fail('BACKLOG', max_backlog)
        end
    end
    return nil
end

local FINGERPRINT = 32 -- hex digits, before the message's id

-- What was answered to the same idempotency key before: nil where there was nothing.
local function find_replay(idempotency, fingerprint)
    local known = idempotency and redis.call('GET', idempotency)
    if not known then
        return nil
    end
    if string.sub(known, 1, FINGERPRINT) ~= fingerprint then
        return fail('CONFLICT', 'the key was used for another request')
    end
    return {'replay', string.sub(known, FINGERPRINT + 1)}
end

local function remember(idempotency, fingerprint, id, window_ms)
    if idempotency then
        redis.call('SET', idempotency, fingerprint .. id, 'PX', window_ms)
    end
end

-- keys: stream, state, the unit's epoch [, idempotency]
-- args: the broker's epoch, max_backlog (0: none), window_ms, fingerprint, the ten fields of the envelope, reply
-- Stores a message. Returns its entry's id, or {`replay`, message id} where the key is known: then nothing is stored.
local function enqueue(keys, args)
    local answer = find_replay(keys[4], args[4]) or check_entry(keys[2], keys[3], args[1], args[2])
    if answer then
        return answer
    end
    count_write(keys[3])
    remember(keys[4], args[4], args[5], args[3])
    return add_message(keys[1], keys[2], args, 5)
end

register('enqueue', enqueue)

-- Messages that are sent again after a failover, in thousands: what the first of them reads of a stream stays in memory
-- for the others. `ids` has the entry of each message from `from_ms` on, up to the entry `last`.
local SCAN_PAGE = 16 -- entries a read: bodies may be long
local SCAN_KEPT_MS = 10000
local scans = {at_ms = 0}

local function forget_old_scans()
    local now_ms = tonumber(redis.call('TIME')[1]) * 1000
    if now_ms > scans.at_ms + SCAN_KEPT_MS then
        scans = {}
    end
    scans.at_ms = now_ms
end

-- The data may have been exchanged since, or trimmed.
local function is_of_this_stream(stream, scan)
    local entry = scan.last and redis.call('XRANGE', stream, scan.last, scan.last)[1]
    return not scan.last or (entry and scan.ids[entry[2][2]] == scan.last)
end

local function scan_of(stream, from_ms)
    local scan = scans[stream]
    if not scan or scan.from_ms > from_ms or not is_of_this_stream(stream, scan) then
        scan = {from_ms = from_ms, ids = {}}
        scans[stream] = scan
    end
    return scan
end

local SCAN_BACK_MS = 1000 -- before the gateway had the request, for clocks differ

-- The entry of a message that came in at `in_us`, or nil.
local function find_entry(stream, id, in_us)
    forget_old_scans()
    local scan = scan_of(stream, math.floor(tonumber(in_us) / 1000) - SCAN_BACK_MS)
    repeat
        local from = scan.last and '(' .. scan.last or string.format('%.0f', scan.from_ms)
        local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', SCAN_PAGE)
        for _, entry in ipairs(entries) do
            scan.ids[entry[2][2]] = entry[1]
            scan.last = entry[1]
        end
    until #entries < SCAN_PAGE
    return scan.ids[id]
end

-- The function that does the same as `callback` unless it was done before: then find(keys, args) says what it answered.
local function replay_of(callback, find)
    return function(keys, args)
        return check_entry(keys[2], keys[3], args[1], '0') or find_entry(keys[1], args[5], args[9]) or
            find and find(keys, args) or callback(keys, args)
    end
end

-- keys, args: those of `enqueue`, of a message that may be stored already
-- Stores it, or returns the entry's id that it has.
register('replay', replay_of(enqueue))
