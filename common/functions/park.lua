-- Parks: where the messages of users wait whose head was not taken. A user that is parked has a stream of its own, whose
-- entries keep the ids that they had; it leaves when that stream is empty. A message that is moved and the cursor that
-- says so are written together, so that each message is in one place at any moment.
--
-- The keys of a park are always these: the partition's stream, parked users (score: when they are due, in ms), attempts
-- of their heads, dead letters, what the names of their streams begin with, the cursor [, state].
-- The cursor's hash holds `parked`, how many messages are in parks, and `serial`, the last write that moved some.

local STREAM, PARKED, TRIES, DEAD, PARKS, CURSOR, STATE = 1, 2, 3, 4, 5, 6, 7

local function now_ms()
    return math.floor(tonumber(now_us()) / 1000)
end

local function set_due(keys, user, wait_ms)
    redis.call('ZADD', keys[PARKED], string.format('%.0f', now_ms() + tonumber(wait_ms)), user)
end

local function set_attempts(keys, user, attempts)
    if tonumber(attempts) > 0 then
        redis.call('HSET', keys[TRIES], user, attempts)
    end
end

-- The entry comes behind what is in the user's park. Where it is the user's first one, there is a wait; the others are
-- due when their turn comes.
local function park(keys, entry, user, attempts, wait_ms)
    if redis.pcall('XADD', keys[PARKS] .. user, entry[1], unpack(entry[2])).err then
        return -- it was there before: ids only rise
    end
    redis.call('HINCRBY', keys[CURSOR], 'parked', 1)
    if wait_ms ~= '' then
        set_due(keys, user, wait_ms)
        set_attempts(keys, user, attempts)
    else
        redis.call('ZADD', keys[PARKED], 'NX', string.format('%.0f', now_ms()), user)
    end
end

local MOVE = 7 -- words: 'park' or 'dead', entry id, serial, user, attempts, wait in ms or status, reason

local function move(keys, args, at)
    local entry = entry_at(keys[STREAM], args[at + 1])
    if entry and args[at] == 'park' then
        park(keys, entry, args[at + 3], args[at + 4], args[at + 5])
    elseif entry then
        bury(keys[DEAD], entry, args[at + 4], args[at + 5], args[at + 6])
    end
end

-- The number of the owner's last write that moved something; 0 where another owner wrote it.
local function last_serial(cursor, owner)
    local by, number = string.match(redis.call('HGET', cursor, 'serial') or '', '^(.*) (%d+)$')
    return by == owner and tonumber(number) or 0
end

-- keys: those of a park, with state the other shared subscriptions' cursors
-- args: serial, how many moves, the moves, and the arguments of commit
-- Moves entries from the stream, and writes the cursor in which they are done. The serial rises with each write of an
-- owner; a move carries the serial of the first write that it was in, and is passed over where that one was done (the
-- owner may not have heard of it). Returns how many messages are parked.
register('park', function(keys, args)
    local serial, count = tonumber(args[1]), tonumber(args[2])
    local rest = {unpack(args, 3 + count * MOVE)}
    local state, owner = keys[STATE], rest[1]
    if not is_owner(state, owner) then
        return not_owner()
    end
    local last = last_serial(keys[CURSOR], owner)
    if last >= serial then
        return fail('LEASE', 'a later write was here before')
    end
    for at = 3, 2 + count * MOVE, MOVE do
        if tonumber(args[at + 2]) > last then
            move(keys, args, at)
        end
    end
    commit({unpack(keys, CURSOR)}, rest)
    redis.call('HSET', keys[CURSOR], 'serial', owner .. ' ' .. args[1])
    return tonumber(redis.call('HGET', keys[CURSOR], 'parked') or '0')
end, {'allow-oom'})

-- Takes the user's head out of its park; false where it is not there (any more).
local function take_out(keys, user, id)
    if redis.call('XDEL', keys[PARKS] .. user, id) == 0 then
        return false
    end
    redis.call('HINCRBY', keys[CURSOR], 'parked', -1)
    redis.call('HDEL', keys[TRIES], user)
    set_due(keys, user, 0)
    return true
end

-- The user's head and its attempts. Where there is none, the user is not parked any more.
local function head_of(keys, user)
    local head = redis.call('XRANGE', keys[PARKS] .. user, '-', '+', 'COUNT', 1)[1]
    if not head then
        redis.call('DEL', keys[PARKS] .. user)
        redis.call('ZREM', keys[PARKED], user)
        redis.call('HDEL', keys[TRIES], user)
        return nil
    end
    return {user, tonumber(redis.call('HGET', keys[TRIES], user) or '0'), head}
end

local function parked_and_head(keys, user)
    return {tonumber(redis.call('HGET', keys[CURSOR], 'parked') or '0'), head_of(keys, user)}
end

-- keys: those of a park; args: owner, call, user, entry id
-- The user's head was delivered. Returns how many messages are parked, and the user's next one, as in `parked`.
register('unpark', function(keys, args)
    if not is_owner(keys[STATE], args[1]) then
        return not_owner()
    end
    note_call(keys[CURSOR], args[1], args[2])
    take_out(keys, args[3], args[4])
    return parked_and_head(keys, args[3])
end, {'allow-oom'})

-- keys: those of a park; args: owner, call, user, entry id, attempts, status, reason
-- The user's head goes to the dead letters. Returns what unpark does.
register('bury', function(keys, args)
    if not is_owner(keys[STATE], args[1]) then
        return not_owner()
    end
    note_call(keys[CURSOR], args[1], args[2])
    local entry = entry_at(keys[PARKS] .. args[3], args[4])
    if entry and take_out(keys, args[3], args[4]) then
        bury(keys[DEAD], entry, args[5], args[6], args[7])
    end
    return parked_and_head(keys, args[3])
end, {'allow-oom'})

-- keys: those of a park; args: owner, call, user, entry id, attempts, wait in ms
-- The user's head was not taken: it has so many attempts behind it, and is due again after the wait.
register('fail', function(keys, args)
    if not is_owner(keys[STATE], args[1]) then
        return not_owner()
    end
    note_call(keys[CURSOR], args[1], args[2])
    local head = head_of(keys, args[3])
    if head and head[3][1] == args[4] then
        set_due(keys, args[3], args[6])
        set_attempts(keys, args[3], args[5])
    end
    return redis.status_reply('OK')
end, {'allow-oom'})

-- keys: those of a park; args: owner, the most to return, users that are passed over (not more than they are)
-- Returns the ms until another user is due (-1: none is parked), and for each user that is due: user, attempts, head.
register('parked', function(keys, args)
    if not is_owner(keys[STATE], args[1]) then
        return not_owner()
    end
    local most, passed_over, now = tonumber(args[2]), {}, now_ms()
    for i = 3, #args do
        passed_over[args[i]] = true
    end
    local users = redis.call('ZRANGE', keys[PARKED], 0, most + #args - 2, 'WITHSCORES')
    local answer = {-1}
    for i = 1, #users, 2 do
        local wait_ms = tonumber(users[i + 1]) - now
        if not passed_over[users[i]] then
            local head = wait_ms <= 0 and #answer <= most and head_of(keys, users[i])
            if head then
                answer[#answer + 1] = head
            elseif wait_ms > 0 or #answer > most then
                answer[1] = math.max(wait_ms, 0)
                break
            end
        end
    end
    return answer
end, {'allow-oom'})
