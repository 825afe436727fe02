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
    local current = redis.call('GET', epoch_key) or '0'
    if current ~= epoch then
        return fail('EPOCH', current)
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
    remember(keys[4], args[4], args[5], args[3])
    return add_message(keys[1], keys[2], args, 5)
end

register('enqueue', enqueue)
