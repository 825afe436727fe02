-- What operators do to a partition by hand. All of it goes through these functions, so that the next owner of the
-- partition sees either all of it or none.

local FIELDS = {'id', 'user', 'slot', 'epoch', 'in_us', 'color', 'method', 'path', 'headers', 'body'}

local function fields_of(entry)
    local fields = {}
    for i = 1, #entry[2], 2 do
        fields[entry[2][i]] = entry[2][i + 1]
    end
    return fields
end

-- Dead letters, oldest first, until `most` were handled: all of them, or the one whose message id is `id`.
local function each_dead(dead, id, most, handle)
    local start, count = '-', 0
    while count < most do
        local entries = redis.call('XRANGE', dead, start, '+', 'COUNT', 100)
        for _, entry in ipairs(entries) do
            local fields = fields_of(entry)
            if count < most and (id == '' or fields.id == id) then
                handle(fields)
                redis.call('XDEL', dead, entry[1])
                count = count + 1
            end
            start = '(' .. entry[1]
        end
        if #entries < 100 then
            break
        end
    end
    return count
end

-- keys: dead letters, stream, state; args: subscription, message id ('': all), the most to move, the broker's epoch
-- Brings dead letters back, as new entries that only their own subscription gets. Returns how many.
register_fenced('redrive', function(keys, args)
    return each_dead(keys[1], args[2], tonumber(args[3]), function(fields)
        local words = {'XADD', keys[2], '*'}
        for _, name in ipairs(FIELDS) do
            words[#words + 1] = name
            words[#words + 1] = fields[name] or ''
        end
        local n = redis.call('HINCRBY', keys[3], 'n', 1)
        for _, word in ipairs({'n', n, 'st_us', now_us(), 'reply', '', 'only', args[1]}) do
            words[#words + 1] = word
        end
        redis.call(unpack(words))
    end)
end)

-- keys: dead letters; args: message id ('': all), the most to drop, the broker's epoch. Returns how many.
register_fenced('purge', function(keys, args)
    return each_dead(keys[1], args[1], tonumber(args[2]), function() end)
end, {'allow-oom'})
