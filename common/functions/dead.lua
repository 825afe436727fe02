-- Dead letters: messages that no retry can help. Each keeps its whole envelope, so that it can be brought back.

-- The entry with that id, or nil.
local function entry_at(stream, id)
    return redis.call('XRANGE', stream, id, id)[1]
end

-- Puts an entry of a stream, which stays where it is, to the dead letters as well.
local function bury(dead, entry, attempts, status, reason)
    local words = {'XADD', dead, '*'}
    for _, word in ipairs(entry[2]) do
        words[#words + 1] = word
    end
    for _, word in ipairs({'reason', reason, 'status', status, 'attempts', attempts, 'dead_us', now_us(),
        'entry', entry[1]}) do
        words[#words + 1] = word
    end
    redis.call(unpack(words))
end
