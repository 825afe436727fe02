/* SPDX-License-Identifier: Apache-2.0
 *
 * Where every accepted message is, by its id: first by what the applications wrote down themselves, which no part of
 * the deployment can gloss over; what is not there is looked up through a gateway.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/http_client.h"
#include "ops/answer.h"
#include "ops/drill_parts.h"

#define SETTLE_US     30000000 /* for the backlog to be delivered */
#define STANDSTILL_US 5000000  /* nothing was delivered for so long: the rest is looked up */
#define POLL_US       50000
#define LOOKUP_MS     2000
#define LOOKUPS_MOST  3 /* of one id, where no answer came */
#define LISTED_MOST   1000
#define READ_SIZE     (1 << 20)

/* --- the applications' records ------------------------------------------------------------------------------------ */

static char *record_path(const struct drill_run *run, const char *app)
{
    struct buf path = {0};
    buf_printf(&path, "%s/apps/%s.jsonl", run->dir, app);
    return path.base;
}

json_t *drill_proof_begin(const struct drill_run *run)
{
    const json_t *all = json_object_get(run->topology, "processes");
    json_t *reached = json_object();
    for (size_t i = 0; i < json_array_size(all); i++) {
        const char *name = ctl_text(json_array_get(all, i), "name");
        struct stat status;
        if (strcmp(ctl_text(json_array_get(all, i), "role"), "app") != 0)
            continue;
        char *path = record_path(run, name);
        json_object_set_new(reached, name, json_integer(stat(path, &status) == 0 ? status.st_size : 0));
        free(path);
    }
    return reached;
}

struct proving {
    struct drill_run *run;
    json_t *reached; /* bytes read of each application's records, by its name */
    json_t *times;   /* how often each id was processed */
    json_t *numbers; /* which requests of the load were, by their numbers */
    json_t *unseen;  /* accepted ids that nobody has processed */
    json_t *lost, *duplicated;
    size_t accepted, acknowledged, pending, parked, dead, unknown, lost_count, duplicated_count;
    size_t unanswered, unanswered_stored;
};

static json_int_t at_key(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void take_record(struct proving *proving, struct str line)
{
    json_t *record = json_loadb(line.base, line.len, 0, NULL);
    json_t *body = json_loads(ctl_text(record, "body"), 0, NULL);
    const char *id = ctl_text(record, "id");
    if (strcmp(ctl_text(body, "drill"), proving->run->id) == 0) {
        char number[24];
        snprintf(number, sizeof(number), "%lld", (long long)at_key(body, "n"));
        json_object_set_new(proving->numbers, number, json_true());
        json_object_set_new(proving->times, id, json_integer(at_key(proving->times, id) + 1));
    }
    json_decref(body);
    json_decref(record);
}

/* What was appended to the records of APP since the last time; a line that is not whole is left for the next. */
static void read_records(struct proving *proving, const char *app, json_int_t *reached)
{
    char *path = record_path(proving->run, app);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct buf text = {0};
    free(path);
    for (ssize_t got = 1; fd >= 0 && got > 0;) {
        got = pread(fd, buf_reserve(&text, READ_SIZE), READ_SIZE, *reached + (json_int_t)text.len);
        text.len += got > 0 ? (size_t)got : 0;
        size_t used = 0;
        for (const char *end; (end = memchr(text.base + used, '\n', text.len - used)) != NULL;) {
            take_record(proving, (struct str){text.base + used, (size_t)(end - text.base) - used});
            used = (size_t)(end - text.base) + 1;
        }
        buf_consume(&text, used);
        *reached += (json_int_t)used;
    }
    if (fd >= 0)
        close(fd);
    buf_free(&text);
}

static void read_all(struct proving *proving)
{
    const char *app;
    json_t *bytes;
    json_object_foreach(proving->reached, app, bytes) {
        json_int_t reached = json_integer_value(bytes);
        read_records(proving, app, &reached);
        json_integer_set(bytes, reached);
    }
}

/* --- who was processed -------------------------------------------------------------------------------------------- */

static void find_unseen(void *arg, const struct drill_request *request)
{
    struct proving *proving = arg;
    if (request->outcome == DRILL_ACCEPTED && request->id != NULL &&
        json_object_get(proving->times, request->id) == NULL)
        json_array_append_new(proving->unseen, json_string(request->id));
}

static void look_again(struct proving *proving)
{
    read_all(proving);
    json_array_clear(proving->unseen);
    drill_load_each(proving->run->load, 0, find_unseen, proving);
}

/* Until everything accepted was processed, or nothing is any more. */
static void settle(struct proving *proving)
{
    uint64_t began_us = clock_monotonic_us(), moved_us = began_us;
    size_t left = SIZE_MAX;
    for (;;) {
        look_again(proving);
        size_t now = json_array_size(proving->unseen);
        uint64_t now_us = clock_monotonic_us();
        if (now < left)
            moved_us = now_us;
        left = now;
        if (left == 0 || now_us - moved_us > STANDSTILL_US || now_us - began_us > SETTLE_US)
            return;
        struct timespec pause = {.tv_nsec = POLL_US * 1000};
        nanosleep(&pause, NULL);
    }
}

static void list_id(json_t *list, json_t *item)
{
    if (json_array_size(list) < LISTED_MOST)
        json_array_append_new(list, item);
    else
        json_decref(item);
}

static void count_request(void *arg, const struct drill_request *request)
{
    struct proving *proving = arg;
    if (request->outcome != DRILL_ACCEPTED)
        return;
    proving->accepted++;
    json_int_t times = request->id != NULL ? at_key(proving->times, request->id) : 0;
    proving->acknowledged += times > 0;
    proving->unknown += request->id == NULL;
    proving->duplicated_count += times > 1;
    if (times > 1)
        list_id(proving->duplicated, json_pack("{s:s,s:I}", "id", request->id, "times", times));
}

/* --- what was not ------------------------------------------------------------------------------------------------- */

/* The place of the message ID as a gateway tells it: 200 with *STATE, 404, or any other answer. */
static long look_up(struct proving *proving, struct http_caller *caller, const char *id, char *state, size_t size)
{
    const struct drill_run *run = proving->run;
    long status = -1;
    for (size_t tried = 0; tried < LOOKUPS_MOST && status != 200 && status != 404; tried++) {
        struct buf url = {0}, body = {0};
        struct error ignored;
        buf_printf(&url, "%s/-/messages/%s", run->gateway_urls[tried % run->gateway_count], id);
        struct http_request request = {.method = "GET", .url = url.base, .timeout_ms = LOOKUP_MS};
        status = http_caller_call(caller, &request, &body, &ignored);
        json_t *answer = status == 200 ? answer_parse(buf_str(&body)) : NULL;
        snprintf(state, size, "%s", ctl_text(answer, "state"));
        json_decref(answer);
        buf_free(&body);
        buf_free(&url);
    }
    return status;
}

static void add_lost(struct proving *proving, const char *id)
{
    proving->lost_count++;
    list_id(proving->lost, json_string(id));
}

/* What the queue calls delivered and no application has written down is lost. */
static void place_delivered(struct proving *proving, const char *id)
{
    read_all(proving);
    if (at_key(proving->times, id) > 0)
        proving->acknowledged++;
    else
        add_lost(proving, id);
}

static void place(struct proving *proving, const char *id, long status, const char *state)
{
    if (status == 404) {
        add_lost(proving, id);
    } else if (status != 200) {
        proving->unknown++;
    } else if (strcmp(state, "parked") == 0) {
        proving->parked++;
    } else if (strcmp(state, "dead") == 0) {
        proving->dead++;
    } else if (strcmp(state, "delivered") == 0) {
        place_delivered(proving, id);
    } else {
        proving->pending++;
    }
}

static void look_up_unseen(struct proving *proving)
{
    struct http_caller *caller = http_caller_create();
    for (size_t i = 0; i < json_array_size(proving->unseen); i++) {
        const char *id = json_string_value(json_array_get(proving->unseen, i));
        char state[32];
        place(proving, id, look_up(proving, caller, id, state, sizeof(state)), state);
    }
    http_caller_destroy(&caller);
}

/* --- what nobody was told ----------------------------------------------------------------------------------------- */

struct counting {
    struct proving *proving;
    size_t number;
};

static void count_unanswered(void *arg, const struct drill_request *request)
{
    struct counting *counting = arg;
    char number[24];
    snprintf(number, sizeof(number), "%zu", counting->number++);
    if (request->outcome != DRILL_UNKNOWN)
        return;
    counting->proving->unanswered++;
    counting->proving->unanswered_stored += json_object_get(counting->proving->numbers, number) != NULL;
}

json_t *drill_proof(struct drill_run *run)
{
    struct proving proving = {.run = run,
                              .reached = json_deep_copy(run->records),
                              .times = json_object(),
                              .numbers = json_object(),
                              .unseen = json_array(),
                              .lost = json_array(),
                              .duplicated = json_array()};
    struct counting counting = {&proving, 0};
    settle(&proving);
    drill_load_each(run->load, 0, count_request, &proving);
    drill_load_each(run->load, 0, count_unanswered, &counting);
    look_up_unseen(&proving);
    json_decref(proving.reached);
    json_decref(proving.times);
    json_decref(proving.numbers);
    json_decref(proving.unseen);
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:I,s:I}", "accepted", (json_int_t)proving.accepted,
                     "acknowledged", (json_int_t)proving.acknowledged, "pending", (json_int_t)proving.pending, "parked",
                     (json_int_t)proving.parked, "dead", (json_int_t)proving.dead, "unknown",
                     (json_int_t)proving.unknown, "unanswered", (json_int_t)proving.unanswered, "unanswered_stored",
                     (json_int_t)proving.unanswered_stored, "lost", proving.lost, "duplicated", proving.duplicated,
                     "lost_count", (json_int_t)proving.lost_count, "duplicated_count",
                     (json_int_t)proving.duplicated_count);
}
