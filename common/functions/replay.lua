-- After a failover nobody knows which of the messages that were in flight came across: gateways send them again, under the
-- same ids, and each is stored once.

local RECENT_MS = 5000 -- what was looked up is kept for so long, for many replays come at once
local AT_ONCE = 256
local recent = {until_ms = 0, streams = {}}

-- Whether what was read of a stream is of use: it goes back far enough, and the stream is still the same.
local function is_of_use(seen, stream, from_ms)
    return seen and seen.from_ms <= from_ms and (not seen.last or entry_at(stream, seen.last))
end

-- Message id to entry id, of the entries of a stream from that millisecond on.
local function recent_ids(stream, from_ms)
    local now = now_ms()
    if now > recent.until_ms then
        recent = {until_ms = now + RECENT_MS, streams = {}}
    end
    local seen = recent.streams[stream]
    if not is_of_use(seen, stream, from_ms) then
        seen = {from_ms = from_ms, at = string.format('%.0f', from_ms), ids = {}}
        recent.streams[stream] = seen
    end
    repeat
        local entries = redis.call('XRANGE', stream, seen.at, '+', 'COUNT', AT_ONCE)
        for _, entry in ipairs(entries) do
            seen.ids[entry[2][2]] = entry[1]
            seen.last, seen.at = entry[1], '(' .. entry[1]
        end
    until #entries < AT_ONCE
    return seen.ids
end

-- The id of the message's entry where it is there: what was remembered may be gone.
local function find_entry(stream, id, from_ms)
    local found = recent_ids(stream, from_ms)[id]
    local entry = found and entry_at(stream, found)
    return entry and entry[2][2] == id and found or nil
end

-- keys: stream, state, the unit's epoch [, idempotency]
-- args: as for enqueue, then the ms from which on the message may have been stored before, by the clock of the brokers
-- Stores a message that another broker, of which this one is a copy, may have stored. Returns its entry's id in either
-- case, or what enqueue returns. Costs a look at each entry of the partition since then: the nearer, the better.
register('replay', function(keys, args)
    local from_ms = tonumber(args[16])
    if not from_ms then
        return fail('ID', 'the milliseconds to look back to are no number')
    end
    local stale = check_epoch(keys[3], args[1])
    return stale or find_entry(keys[1], args[5], from_ms) or enqueue(keys, args)
end)
