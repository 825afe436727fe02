-- What a unit still has to deliver of users who left it.

-- Parked users of whom the first message came by rules of EPOCH or older ones; of more than MOST who are parked, none.
local function parked_before(parked, parks, epoch, most)
    local left = {}
    for _, user in ipairs(redis.call('ZRANGE', parked, 0, most)) do
        local head = redis.call('XRANGE', parks .. user, '-', '+', 'COUNT', 1)[1]
        if head and (tonumber(fields_of(head).epoch) or 0) <= epoch then
            left[#left + 1] = user
        end
    end
    return left
end

-- keys: stream, cursor, parked users, what the names of their streams begin with
-- args: the last entry that counts ('': the last there is), the epoch of the rules that the users left with, a number
-- Returns that entry; 1 where the cursor has passed it and no more than that number of users are parked, else 0; and
-- those of them whose first message came by rules of that epoch or older ones.
register('remains', function(keys, args)
    local last = args[1]
    if last == '' then
        last = (info_of(keys[1]) or {})['last-generated-id'] or '0-0'
    end
    local watermark, most = redis.call('HGET', keys[2], 'watermark') or '0-0', tonumber(args[3])
    local ahead = redis.call('XRANGE', keys[1], '(' .. watermark, last, 'COUNT', 1)
    if #ahead > 0 or redis.call('ZCARD', keys[3]) > most then
        return {last, 0}
    end
    return {last, 1, unpack(parked_before(keys[3], keys[4], tonumber(args[2]), most))}
end, {'no-writes'})
