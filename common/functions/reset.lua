-- Where a subscription goes on by an operator's word.

-- The id that comes right before ID in the order of streams.
local function id_before(id)
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    if seq ~= '0' then
        return ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
    end
    return ms == '0' and '0-0' or string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
end

-- What lies behind the watermark is read from the partition's stream again, and a user's park takes only what comes
-- behind all that it ever held: it begins anew, with what lies before the watermark.
local function rewind_park(keys, user, watermark)
    local stream = keys[PARKS] .. user
    local count, kept = redis.call('XLEN', stream), redis.call('XRANGE', stream, '-', watermark)
    redis.call('UNLINK', stream)
    for _, entry in ipairs(kept) do
        redis.call('XADD', stream, entry[1], unpack(entry[2]))
    end
    if #kept == 0 then
        redis.call('ZREM', keys[PARKED], user)
        redis.call('HDEL', keys[TRIES], user)
    end
    return count - #kept
end

-- keys: those of a park, with state; args: 'from' and an entry id (or milliseconds), or 'end'; behind them the broker's epoch
-- Delivery goes on with the first entry at or behind that id, or with what comes next; parked messages from there on are
-- delivered like all others. The owner of the partition loses it, so that it cannot write the cursor that it still has.
-- Returns the watermark, and how many entries lie before it.
register_fenced('reset', function(keys, args)
    local n = redis.call('HGET', keys[STATE], 'n') or '0'
    local first = args[1] == 'from' and redis.call('XRANGE', keys[STREAM], args[2], '+', 'COUNT', 1)[1]
    local last = redis.call('XREVRANGE', keys[STREAM], '+', '-', 'COUNT', 1)[1]
    local watermark, passed = last and last[1] or '0-0', n
    if first then
        watermark, passed = id_before(first[1]), string.format('%.0f', tonumber(fields_of(first).n or n) - 1)
        for _, user in ipairs(redis.call('ZRANGE', keys[PARKED], 0, -1)) do
            redis.call('HINCRBY', keys[CURSOR], 'parked', -rewind_park(keys, user, watermark))
        end
    end
    redis.call('HSET', keys[CURSOR], 'watermark', watermark, 'done', '', 'passed', passed, 'beyond', 0)
    redis.call('HDEL', keys[STATE], 'owner')
    redis.call('HINCRBY', keys[STATE], 'lease', 1)
    if tonumber(redis.call('HGET', keys[STATE], 'floor') or '0') > tonumber(passed) then
        redis.call('HSET', keys[STATE], 'floor', passed)
    end
    return {watermark, passed}
end, {'allow-oom'})
