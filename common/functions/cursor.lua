-- How far the subscriptions of a partition got: common/cursor.h says what stands in a cursor.

-- Whether a partition is the owner's to write to. A broadcast's cursor comes without a state, and nobody else writes it.
local function is_owner(state, owner)
    return not state or (redis.call('HGET', state, 'owner') or '') == owner
end

local function not_owner()
    return fail('LEASE', 'another agent owns the partition')
end

-- Owners number their calls. One that comes back to a broker which holds an older number than it was told of knows that
-- the broker lost something.
local function note_call(cursor, owner, number)
    redis.call('HSET', cursor, 'call', owner .. ' ' .. number)
end

-- Writes a cursor, and with a shared one the floor: what all shared subscriptions have passed.
local function commit(keys, args)
    local state, floor = keys[2], tonumber(args[4])
    redis.call('HSET', keys[1], 'watermark', args[2], 'done', args[3], 'passed', args[4], 'beyond', args[5])
    for i = 3, #keys do
        floor = math.min(floor, tonumber(redis.call('HGET', keys[i], 'passed') or '0'))
    end
    if state then
        redis.call('HSET', state, 'floor', string.format('%.0f', floor))
    end
    note_call(keys[1], args[1], args[6] or '0')
end

-- keys: cursor [, state, the other shared subscriptions' cursors]
-- args: owner, watermark, done, passed, beyond, call
-- Writes a cursor; a broadcast's comes without a state. LDC_LEASE where another agent owns the partition.
register('commit', function(keys, args)
    if not is_owner(keys[2], args[1]) then
        return not_owner()
    end
    commit(keys, args)
    return redis.status_reply('OK')
end, {'allow-oom'})

-- What XINFO STREAM says; nil where there is no such stream.
local function info_of(stream)
    local info = redis.pcall('XINFO', 'STREAM', stream)
    if info.err then
        return nil
    end
    local named = {}
    for i = 1, #info, 2 do
        named[info[i]] = info[i + 1]
    end
    return named
end

local function entry_id(entry)
    return entry and entry[1] or ''
end

-- keys: stream, state, again and again
-- For each pair: the ids of the first and of the last entry that is there ('': none) and of the last one ever, how many
-- messages there ever were, and the owner.
register('survey', function(keys)
    local answer = {}
    for i = 1, #keys, 2 do
        local info = info_of(keys[i]) or {}
        local state = redis.call('HMGET', keys[i + 1], 'n', 'owner')
        answer[#answer + 1] = {entry_id(info['first-entry']), entry_id(info['last-entry']),
            info['last-generated-id'] or '0-0', tonumber(state[1] or info['entries-added'] or 0), state[2] or ''}
    end
    return answer
end, {'no-writes'})

local function id_parts(id)
    local ms, seq = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(ms), tonumber(seq)
end

local function id_min(a, b)
    local a_ms, a_seq = id_parts(a)
    local b_ms, b_seq = id_parts(b)
    return (a_ms < b_ms or (a_ms == b_ms and a_seq <= b_seq)) and a or b
end

-- The cursors of those who listen to broadcasts of the stream's topic.
local function listening_cursors(stream, listeners)
    local prefix, topic = string.match(stream, '^(ldc:{[^/]*/([^/]*)/[^}]*}:)stream$')
    local cursors = {}
    for _, name in ipairs(topic and redis.call('HKEYS', listeners) or {}) do
        local of, listener = string.match(name, '^([^/]*)/(.*)$')
        if of == topic then
            cursors[#cursors + 1] = prefix .. 'cursor:' .. listener
        end
    end
    return cursors
end

-- keys: stream, the unit's listeners, the cursors of all shared subscriptions; args: an entry id, the most
-- Removes entries before that id that every cursor has passed. A shared subscription without a cursor has passed nothing;
-- a broadcast without one begins at the end. Returns how many.
register('trim', function(keys, args)
    local least = args[1]
    for i = 3, #keys do
        least = id_min(least, redis.call('HGET', keys[i], 'watermark') or '0-0')
    end
    for _, cursor in ipairs(listening_cursors(keys[1], keys[2])) do
        least = id_min(least, redis.call('HGET', cursor, 'watermark') or least)
    end
    return redis.call('XTRIM', keys[1], 'MINID', '~', least, 'LIMIT', args[2])
end, {'allow-oom'})
