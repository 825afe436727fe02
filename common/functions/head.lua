-- What runs inside the brokers: the functions of the library ldc1. This file comes first; the others of this folder
-- follow in the order of their names and share its locals. docs/PROTOCOL.md says what each function promises.
--
-- Functions are called with keys of one unit only. Numbers of microseconds travel as text: a double holds them, but
-- Lua's own formatting does not. What a function wrote before an error stays written, so all checks come first.

-- Raised when a function changes in a way that its callers must know. A broker keeps the newest that it was given.
local VERSION = 4

local function register(name, callback, flags)
    redis.register_function{function_name = 'ldc1_' .. name, callback = callback, flags = flags}
end

local function fail(code, text)
    return redis.error_reply('LDC_' .. code .. ' ' .. text)
end

local function now_us()
    local time = redis.call('TIME')
    return time[1] .. string.sub('00000' .. time[2], -6)
end

local asked = {key = '', prefix = ''} -- by the last call: most often the next one is for the same key

-- The unit's key of that suffix, of any key of the unit.
local function unit_key(key, suffix)
    if key ~= asked.key then
        asked = {prefix = 'ldc:{' .. string.match(key, '^ldc:{([^/}]*)') .. '}:', key = key}
    end
    return asked.prefix .. suffix
end

-- The error for a caller whose record is not the one that this broker is stamped with; nil for others. Whoever it is that
-- a failover deposed, a gateway or this broker, nothing is written then.
local function check_epoch(epoch_key, epoch)
    local current = redis.call('GET', epoch_key) or '0'
    return current ~= epoch and fail('EPOCH', current) or nil
end

-- Counts what callers are told of. Two copies of the same data can be compared by that: who counted less lacks something.
local function count_write(key)
    redis.call('INCR', unit_key(key, 'writes'))
end

-- Registers a function that writes only for who knows the unit's epoch, which comes as the last argument.
local function register_fenced(name, callback, flags)
    register(name, function(keys, args)
        local stale = check_epoch(unit_key(keys[1], 'epoch'), table.remove(args))
        if stale then
            return stale
        end
        count_write(keys[1])
        return callback(keys, args)
    end, flags)
end

local SHORT = 0.5 -- of the broker's memory: beyond it a tenth is kept of what can be missed
local memory = {looked = 0, share = 0}

-- How much of its memory the broker uses; 0 where there is no bound. Looks once a second.
local function memory_share()
    local now = tonumber(redis.call('TIME')[1])
    if now ~= memory.looked then
        local info = redis.call('INFO', 'memory')
        local used, most = string.match(info, 'used_memory:(%d+)'), tonumber(string.match(info, 'maxmemory:(%d+)'))
        memory = {looked = now, share = most > 0 and tonumber(used) / most or 0}
    end
    return memory.share
end

local function is_memory_short()
    return memory_share() > SHORT
end

-- Returns the library's number and its digest.
register('version', function()
    return VERSION .. ' ' .. DIGEST
end, {'no-writes'})
