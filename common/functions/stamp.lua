-- Who may write here: the broker carries the version of the broker record that made it the primary, or kept it so.

-- keys: the unit's epoch, the data's name; args: the epoch, as the version of the broker record, the name that it has
-- Writers of any other epoch are refused from now on. Raises the stamp and never lowers it. Returns the stamp. Refuses
-- data of another name; without a second key they are not asked.
register('stamp', function(keys, args)
    if keys[2] and (redis.call('GET', keys[2]) or '') ~= args[2] then
        return fail('DATA', "the broker's data are not those of the record")
    end
    local current = tonumber(redis.call('GET', keys[1]) or '0')
    if tonumber(args[1]) > current then
        redis.call('SET', keys[1], args[1])
        return args[1]
    end
    return string.format('%.0f', current)
end, {'allow-oom'})
