-- What operators do to a partition by hand. All of it goes through these functions, so that the next owner of the
-- partition sees either all of it or none.

local FIELDS = {'id', 'user', 'slot', 'epoch', 'in_us', 'color', 'method', 'path', 'headers', 'body'}

local function fields_of(entry)
    local fields = {}
    for i = 1, #entry[2], 2 do
        fields[entry[2][i]] = entry[2][i + 1]
    end
    return fields
end

-- Dead letters, oldest first, until `most` were handled: all of them, or the one whose message id is `id`.
local function each_dead(dead, id, most, handle)
    local start, count = '-', 0
    while count < most do
        local entries = redis.call('XRANGE', dead, start, '+', 'COUNT', 100)
        for _, entry in ipairs(entries) do
            local fields = fields_of(entry)
            if count < most and (id == '' or fields.id == id) then
                handle(fields)
                redis.call('XDEL', dead, entry[1])
                count = count + 1
            end
            start = '(' .. entry[1]
        end
        if #entries < 100 then
            break
        end
    end
    return count
end

-- keys: dead letters, stream, state; args: subscription, message id ('': all), the most to move
-- Brings dead letters back, as new entries that only their own subscription gets. Returns how many.
register('redrive', function(keys, args)
    return each_dead(keys[1], args[2], tonumber(args[3]), function(fields)
        local words = {'XADD', keys[2], '*'}
        for _, name in ipairs(FIELDS) do
            words[#words + 1] = name
            words[#words + 1] = fields[name] or ''
        end
        local n = redis.call('HINCRBY', keys[3], 'n', 1)
        for _, word in ipairs({'n', n, 'st_us', now_us(), 'reply', '', 'only', args[1]}) do
            words[#words + 1] = word
        end
        redis.call(unpack(words))
    end)
end)

-- keys: dead letters; args: message id ('': all), the most to drop. Returns how many.
register('purge', function(keys, args)
    return each_dead(keys[1], args[1], tonumber(args[2]), function() end)
end, {'allow-oom'})

-- The id that comes right before ID in the order of streams.
local function id_before(id)
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    if seq ~= '0' then
        return ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
    end
    return ms == '0' and '0-0' or string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
end

-- keys: cursor, stream, state; args: 'from' and an entry id (or milliseconds), or 'end'
-- Delivery goes on with the first entry at or behind that id, or with what comes next. The owner of the partition loses
-- it, so that it cannot write the cursor that it still has. Returns the watermark, and how many entries lie before it.
register('reset', function(keys, args)
    local n = redis.call('HGET', keys[3], 'n') or '0'
    local first = args[1] == 'from' and redis.call('XRANGE', keys[2], args[2], '+', 'COUNT', 1)[1]
    local last = redis.call('XREVRANGE', keys[2], '+', '-', 'COUNT', 1)[1]
    local watermark, passed = last and last[1] or '0-0', n
    if first then
        watermark, passed = id_before(first[1]), string.format('%.0f', tonumber(fields_of(first).n or n) - 1)
    end
    redis.call('HSET', keys[1], 'watermark', watermark, 'done', '', 'passed', passed, 'beyond', 0)
    redis.call('HDEL', keys[3], 'owner')
    redis.call('HINCRBY', keys[3], 'lease', 1)
    if tonumber(redis.call('HGET', keys[3], 'floor') or '0') > tonumber(passed) then
        redis.call('HSET', keys[3], 'floor', passed)
    end
    return {watermark, passed}
end, {'allow-oom'})
