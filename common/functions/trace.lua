-- What happened to messages. Each entry of a trace stream is what one agent saw of one subscription in a moment: the
-- agent's name, the subscription's, and a line for each thing that happened, which begins with its kind, a space, and the
-- last part of the message's id.

-- keys: trace stream; args: the most entries to keep, agent, subscription, lines
-- Without allow-oom: where memory is short, traces are what can be missed.
register('note', function(keys, args)
    redis.call('XADD', keys[1], 'MAXLEN', '~', args[1], '*', 'agent', args[2], 'sub', args[3], 'lines', args[4])
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

-- keys: trace stream; args: the last part of a message id, where to begin, the most entries to look at
-- Returns where to go on ('': there is no more), and {agent, subscription, line} of each line about the message.
register('traced', function(keys, args)
    local entries, found = redis.call('XRANGE', keys[1], args[2], '+', 'COUNT', args[3]), {}
    for _, entry in ipairs(entries) do
        add_lines(found, entry[2], args[1])
    end
    return {#entries < tonumber(args[3]) and '' or '(' .. entries[#entries][1], found}
end, {'no-writes'})
