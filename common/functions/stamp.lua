-- Who may write here: the broker carries the version of the broker record that made it the primary, or kept it so.

-- keys: the unit's epoch; args: the epoch, as the version of the broker record
-- Writers of any other epoch are refused from now on. Raises the stamp and never lowers it. Returns the stamp.
register('stamp', function(keys, args)
    local current = tonumber(redis.call('GET', keys[1]) or '0')
    if tonumber(args[1]) > current then
        redis.call('SET', keys[1], args[1])
        return args[1]
    end
    return string.format('%.0f', current)
end, {'allow-oom'})
