-- Request-reply: the answers of the app, on their way to the gateway whose client waits.

-- keys: the reply stream of a gateway
-- args: the most entries, ms that it outlives its last one, then message id, status, headers, body, fault of each answer
-- Puts answers of the app into the stream.
register('answer', function(keys, args)
    for at = 3, #args, 5 do
        redis.call('XADD', keys[1], 'MAXLEN', '~', args[1], '*', 'id', args[at], 'status', args[at + 1],
            'headers', args[at + 2], 'body', args[at + 3], 'fault', args[at + 4])
    end
    redis.call('PEXPIRE', keys[1], args[2])
    return redis.status_reply('OK')
end, {'allow-oom'})
