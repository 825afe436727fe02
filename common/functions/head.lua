-- What runs inside the brokers: the functions of the library ldc1. This file comes first; the others of this folder
-- follow in the order of their names and share its locals. docs/PROTOCOL.md says what each function promises.
--
-- Functions are called with keys of one unit only. Numbers of microseconds travel as text: a double holds them, but
-- Lua's own formatting does not. What a function wrote before an error stays written, so all checks come first.

-- Raised when a function changes in a way that its callers must know. A broker keeps the newest that it was given.
local VERSION = 1

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

-- Returns the library's number and its digest.
register('version', function()
    return VERSION .. ' ' .. DIGEST
end, {'no-writes'})
