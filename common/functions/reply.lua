-- Request-reply: the answers of the app, on their way to the gateway whose client waits.

-- keys: the reply stream of a gateway
-- args: the most entries it may hold, ms that it outlives its last entry, then of each answer: message id, status, header
-- lines, body, and why there is no answer to show ('': there is)
register('answer', function(keys, args)
    for at = 3, #args, 5 do
        redis.call('XADD', keys[1], 'MAXLEN', '~', args[1], '*', 'id', args[at], 'status', args[at + 1],
            'headers', args[at + 2], 'body', args[at + 3], 'fault', args[at + 4])
    end
    redis.call('PEXPIRE', keys[1], args[2])
    return redis.status_reply('OK')
end, {'allow-oom'})
