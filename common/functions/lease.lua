-- Which agents of a unit live, and which of them owns which partition. All times are the broker's, so that no two clocks
-- are ever compared. An owner is written "AGENT/INCARNATION": who starts anew is somebody else.

local FORGOTTEN_MS = 3600000 -- after its last beat

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Of the value of an agent's field: nil where it does not live.
local function incarnation_of(beat, now)
    local expiry, incarnation, leaving = string.match(beat or '', '^(%d+) (%S+) ?(%S*)$')
    if expiry and tonumber(expiry) > now then
        return incarnation, leaving ~= ''
    end
    return nil
end

-- Names and incarnations of those who live and stay. Whoever is long gone is forgotten.
local function members(agents, now)
    local all, list = redis.call('HGETALL', agents), {}
    for i = 1, #all, 2 do
        local incarnation, leaving = incarnation_of(all[i + 1], now)
        if incarnation and not leaving then
            list[#list + 1] = all[i]
            list[#list + 1] = incarnation
        elseif not incarnation and tonumber(string.match(all[i + 1], '^%d+') or 0) < now - FORGOTTEN_MS then
            redis.call('HDEL', agents, all[i])
        end
    end
    return list
end

-- keys: the unit's agents; args: name, incarnation, how many ms it lives from now, 'leaving' or ''
-- Returns name, incarnation, name, incarnation ... of those who live, but for those who are leaving.
register('beat', function(keys, args)
    local now = now_ms()
    local other = incarnation_of(redis.call('HGET', keys[1], args[1]), now)
    if other and other ~= args[2] then
        return fail('LEASE', 'another agent of this name lives')
    end
    local beat = string.format('%.0f', now + tonumber(args[3])) .. ' ' .. args[2]
    redis.call('HSET', keys[1], args[1], args[4] == '' and beat or beat .. ' ' .. args[4])
    return members(keys[1], now)
end, {'allow-oom'})

-- keys: the unit's agents; args: name, incarnation. All that it owns is free.
register('leave', function(keys, args)
    local beat = redis.call('HGET', keys[1], args[1])
    if beat and string.match(beat, '^%d+ (%S+)') == args[2] then
        redis.call('HDEL', keys[1], args[1])
    end
    return redis.status_reply('OK')
end, {'allow-oom'})

-- Whether an owner still lives. `known` remembers what was looked up.
local function lives(agents, owner, now, known)
    if known[owner] == nil then
        local name, incarnation = string.match(owner, '^(.*)/(.*)$')
        known[owner] = name ~= nil and incarnation_of(redis.call('HGET', agents, name), now) == incarnation
    end
    return known[owner]
end

-- keys: the unit's agents, then the states of partitions; args: owner
-- Takes those that nobody owns who lives. Returns 1 for each that is the caller's now, 0 for each that is another's.
register('take', function(keys, args)
    local now, known, answer = now_ms(), {}, {}
    if not lives(keys[1], args[1], now, known) then
        return fail('LEASE', 'its beat is over')
    end
    for i = 2, #keys do
        local owner = redis.call('HGET', keys[i], 'owner')
        local free = not owner or (owner ~= args[1] and not lives(keys[1], owner, now, known))
        if free then
            redis.call('HSET', keys[i], 'owner', args[1])
            redis.call('HINCRBY', keys[i], 'lease', 1)
        end
        answer[i - 1] = (free or owner == args[1]) and 1 or 0
    end
    return answer
end, {'allow-oom'})

-- keys: states of partitions; args: owner. Gives back those that are its own.
register('release', function(keys, args)
    for _, state in ipairs(keys) do
        if redis.call('HGET', state, 'owner') == args[1] then
            redis.call('HDEL', state, 'owner')
        end
    end
    return redis.status_reply('OK')
end, {'allow-oom'})

-- keys: the unit's listeners; args: those that are there, as "TOPIC/SUBSCRIPTION@AGENT"
-- Returns for each that was ever there: its name, and for how many ms it has said nothing.
register('listen', function(keys, args)
    local now, answer = now_ms(), {}
    for _, name in ipairs(args) do
        redis.call('HSET', keys[1], name, string.format('%.0f', now))
    end
    local all = redis.call('HGETALL', keys[1])
    for i = 1, #all, 2 do
        answer[i], answer[i + 1] = all[i], now - tonumber(all[i + 1])
    end
    return answer
end, {'allow-oom'})
