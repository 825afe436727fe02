-- What happened to messages. Each entry of a trace stream is what one agent saw of one subscription in a moment: the
-- agent's name, the subscription's, and a line for each thing that happened, which begins with its kind, a space, and the
-- last part of the message's id.

-- keys: trace stream
-- args: the most entries to keep, agent, subscription, lines
-- Adds an entry; keeps a tenth where more than half of the broker's memory is used. Without allow-oom.
register('note', function(keys, args)
    local most = tonumber(args[1])
    if is_memory_short() then
        most = math.ceil(most / 10)
    end
    redis.call('XADD', keys[1], 'MAXLEN', '~', most, '*', 'agent', args[2], 'sub', args[3], 'lines', args[4])
    return redis.status_reply('OK')
end)

local function add_lines(found, values, unique)
    local lines = values[6]
    local at = string.find(lines, unique, 1, true)
    while at do
        local stop = string.find(lines, '\n', at, true) or #lines + 1
        found[#found + 1] = {values[2], values[4], string.sub(lines, at - 2, stop - 1)}
        at = string.find(lines, unique, stop, true)
    end
end

-- keys: trace stream
-- args: the last part of a message id, where to begin, where to end, the most entries to look at, `newest` or nothing
-- With `newest` the search goes from the end, which comes first then, to the beginning. Returns where to go on ('': there is no more), and {agent, subscription, line} of each line about the message.
register('traced', function(keys, args)
    local verb = args[5] == 'newest' and 'XREVRANGE' or 'XRANGE'
    local entries, found = redis.call(verb, keys[1], args[2], args[3], 'COUNT', args[4]), {}
    for _, entry in ipairs(entries) do
        add_lines(found, entry[2], args[1])
    end
    return {#entries < tonumber(args[4]) and '' or '(' .. entries[#entries][1], found}
end, {'no-writes'})

-- The dead letter with that id among the last ones before `until_ms` ('': of all), or nil.
local function dead_letter(dead, id, until_ms)
    for _, entry in ipairs(redis.call('XREVRANGE', dead, until_ms ~= '' and until_ms or '+', '-', 'COUNT', 64)) do
        local fields = fields_of(entry)
        if fields.id == id then
            return {fields.status or '', fields.attempts or '', fields.dead_us or '', fields.reason or ''}
        end
    end
    return nil
end

-- When a parked message is due, in ms ('': it waits behind another one of its user), and the attempts behind it; nil where
-- it is in no park.
local function parked_entry(parked, tries, park, user, entry)
    if user == '' or entry == '' or #redis.call('XRANGE', park, entry, entry) == 0 then
        return nil
    end
    local head = redis.call('XRANGE', park, '-', '+', 'COUNT', 1)[1]
    if head[1] ~= entry then
        return {'', '0'}
    end
    return {redis.call('ZSCORE', parked, user) or '', redis.call('HGET', tries, user) or '0'}
end

-- keys: cursor, parked users, attempts of their heads, dead letters, the stream of the user's park
-- args: message id, user, entry id, ms before which a dead letter stands ('': not known)
-- Returns the cursor's watermark, done and passed, then {due, attempts} where the message is parked, then
-- {status, attempts, microseconds, reason} where it is a dead letter; else empty lists.
register('where', function(keys, args)
    local cursor = redis.call('HMGET', keys[1], 'watermark', 'done', 'passed')
    return {cursor[1] or '', cursor[2] or '', cursor[3] or '',
        parked_entry(keys[2], keys[3], keys[5], args[2], args[3]) or {}, dead_letter(keys[4], args[1], args[4]) or {}}
end, {'no-writes'})
