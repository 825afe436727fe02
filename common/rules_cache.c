/* SPDX-License-Identifier: Apache-2.0 */
#include "common/rules_cache.h"

#include <stdlib.h>

#include "common/file.h"
#include "common/store_json.h"

#define MARK      "# ldcgate rules cache: "
#define FILE_MODE 0640
#define MOST      ((size_t)512 << 20)

int rules_cache_write(const char *path, const struct store_record *record, struct str text, struct error *err)
{
    json_t *json = store_record_to_json(record);
    char *line = json_dumps(json, JSON_COMPACT);
    struct buf content = {NULL, 0, 0};
    buf_printf(&content, MARK "%s\n", line);
    buf_append_str(&content, text);
    int result = file_replace(path, buf_str(&content), FILE_MODE, err);
    buf_free(&content);
    free(line);
    json_decref(json);
    return result;
}

static bool read_record(struct str line, struct store_record *record)
{
    if (!str_starts(line, STR_LIT(MARK)))
        return false;
    json_t *json = json_loadb(line.base + sizeof(MARK) - 1, line.len - (sizeof(MARK) - 1), 0, NULL);
    bool whole = json != NULL && store_record_from_json(json, record) && record->epoch > 0;
    json_decref(json);
    return whole;
}

int rules_cache_read(const char *path, struct store_record *record, struct buf *text, struct error *err)
{
    struct buf content = {NULL, 0, 0};
    char sha256[65];
    int result = file_read(path, MOST, &content, err);
    if (result == 0) {
        struct str rest = buf_str(&content), line;
        str_next(&rest, '\n', &line);
        store_sha256(rest, sha256);
        if (read_record(line, record) && strcmp(sha256, record->sha256) == 0)
            buf_append_str(text, rest);
        else
            result = error_set(err, ERROR_INPUT, "%s is no whole cache of rules", path);
    }
    buf_free(&content);
    return result;
}
