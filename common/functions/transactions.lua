-- Messages that wait for their sender's word. `tx` holds their values and `tx_checks` what there is to know of them:
-- the URL to ask, ms until the first check, ms of the preparation, and how often it was asked. `tx_due` says when each is asked next; `tx_parked` holds those that nobody answered for.
-- How one ended stands in `ended:ID` for a while. Every end goes through end_transaction, so there is only one.

local ENDS = {commit = 'committed', rollback = 'rolled-back'}

-- keys: stream, state, the unit's epoch, the unit [, idempotency]
-- args: as for enqueue, then the check's URL, ms until the first check, ms for which the end is remembered
-- Keeps a message until tx_end. Returns `prepared`.
local function prepare(keys, args)
    local answer = find_replay(keys[5], args[4]) or check_entry(keys[2], keys[3], args[1], args[2]) or
        check_id(keys[1], args[5])
    if answer then
        return answer
    end
    count_write(keys[3])
    local unit, id, now = keys[4], args[5], now_ms()
    remember(keys[5], args[4], id, args[3])
    redis.call('HSET', unit .. 'tx', id, pack_message(args, 5, args[18]))
    redis.call('HSET', unit .. 'tx_checks', id, cmsgpack.pack({args[16], tonumber(args[17]), now, 0}))
    redis.call('ZADD', unit .. 'tx_due', now + tonumber(args[17]), id)
    return 'prepared'
end

local function find_prepared(keys, args)
    local there = redis.call('HEXISTS', keys[4] .. 'tx', args[5]) + redis.call('EXISTS', keys[4] .. 'ended:' .. args[5])
    return there > 0 and 'prepared' or nil
end

register('prepare', prepare)
-- keys, args: the same, of a message that may be prepared already
register('replay_prepare', replay_of(prepare, find_prepared))

local function end_transaction(unit, id, verb)
    local packed = redis.call('HGET', unit .. 'tx', id)
    redis.call('HDEL', unit .. 'tx', id)
    redis.call('HDEL', unit .. 'tx_checks', id)
    redis.call('ZREM', unit .. 'tx_due', id)
    redis.call('ZREM', unit .. 'tx_parked', id)
    if verb == 'commit' then
        publish(unit, packed, ENDS[verb])
    else
        remember_end(unit, id, ENDS[verb], cmsgpack.unpack(packed)[VALUES + 1])
    end
    return ENDS[verb]
end

-- How long after the n-th check the next one is due: twice as long as before it, `most_ms` at most.
local function pause_after(first_ms, checks, most_ms)
    return math.min(first_ms * 2 ^ math.min(checks, 40), most_ms)
end

-- One that is due: asked once more, or parked where it was asked often enough. Returns what to ask, or nil.
local function check_one(unit, id, now, most_checks, most_ms)
    local check = cmsgpack.unpack(redis.call('HGET', unit .. 'tx_checks', id))
    if check[4] >= most_checks then
        redis.call('ZREM', unit .. 'tx_due', id)
        redis.call('ZADD', unit .. 'tx_parked', now, id)
        return nil
    end
    check[4] = check[4] + 1
    redis.call('HSET', unit .. 'tx_checks', id, cmsgpack.pack(check))
    redis.call('ZADD', unit .. 'tx_due', now + pause_after(check[2], check[4], most_ms), id)
    return {id, check[1], check[4]}
end

-- keys: the unit; args: how many checks there are, ms between two of them at most, how many are wanted now
-- Returns how many were parked, and an {id, URL, number of the check} for each transaction to be asked about. The next
-- check is set before this one is made: an agent that dies leaves nothing unasked, and two of them ask no more often.
register('tx_due', function(keys, args)
    local unit, now, asked, parked = keys[1], now_ms(), {}, 0
    local most = math.min(tonumber(args[3]), MOST_AT_ONCE)
    for _, id in ipairs(redis.call('ZRANGE', unit .. 'tx_due', '-inf', now, 'BYSCORE', 'LIMIT', 0, most)) do
        local question = check_one(unit, id, now, tonumber(args[1]), tonumber(args[2]))
        asked[#asked + 1] = question
        parked = parked + (question and 0 or 1)
    end
    return {parked, asked}
end, {'allow-oom'})
