/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_look.h"

#include <stdlib.h>

#include "common/collection_value.h"
#include "common/protocol.h"
#include "gateway/collection_origin.h"
#include "gateway/queue.h"

#define HEAD_WORDS   5 /* behind the sequence: last entry, state, epoch, copy_from, beat_us */
#define CHANGE_WORDS 6
#define MOST_WORDS   (HEAD_WORDS + CHANGE_WORDS * LOOK_MOST)

struct look_call {
    look_done_fn done; /* NULL: nobody waits any more */
    void *arg;
    uint64_t epoch;          /* for which a copy must be open */
    struct message *message; /* to the origin; NULL: a copy is asked */
    struct origin_call origin;
};

/* --- the answer --------------------------------------------------------------------------------------------------- */

static uint64_t number_of(struct str text)
{
    uint64_t number = 0;
    (void)!str_to_u64(text, &number);
    return number;
}

static bool read_change(const struct str *words, struct change *change)
{
    *change = (struct change){.repair = str_equal(words[1], STR_LIT("repair")),
                              .key = words[2],
                              .version = number_of(words[3]),
                              .was = number_of(words[4]),
                              .us = number_of(words[5])};
    change->deleted = change->repair ? change->version == 0 : str_equal(words[1], STR_LIT("del"));
    return stream_id_parse(words[0], &change->id);
}

static enum look_standing standing_of(struct str state, struct str open_for, uint64_t epoch)
{
    uint64_t open;
    if (!str_equal(state, STR_LIT("live")))
        return LOOK_UNMADE;
    return str_to_u64(open_for, &open) && open == epoch ? LOOK_OPEN : LOOK_CLOSED;
}

static bool read_look(const struct look_call *call, const struct str *words, size_t count, struct look *look)
{
    if (count < HEAD_WORDS || (count - HEAD_WORDS) % CHANGE_WORDS != 0 || !stream_id_parse(words[0], &look->last))
        return false;
    look->standing = call->message != NULL ? LOOK_OPEN : standing_of(words[1], words[2], call->epoch);
    look->made_from = words[3];
    look->beat_us = number_of(words[4]);
    look->count = (unsigned)((count - HEAD_WORDS) / CHANGE_WORDS);
    for (unsigned i = 0; i < look->count; i++)
        if (!read_change(words + HEAD_WORDS + (size_t)i * CHANGE_WORDS, &look->changes[i]))
            return false;
    return true;
}

static void conclude(struct look_call *call, const struct look *look)
{
    if (call->done != NULL)
        call->done(call->arg, look);
    free(call);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static void on_copy(void *arg, const redisReply *reply)
{
    struct look_call *call = arg;
    struct str words[MOST_WORDS];
    struct look look;
    size_t count = 0;
    bool sound = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                 reply->elements <= MOST_WORDS + 1 && reply->element[0]->type == REDIS_REPLY_INTEGER;
    for (size_t i = 1; sound && i < reply->elements; i++)
        if ((sound = reply->element[i]->type == REDIS_REPLY_STRING))
            words[count++] = (struct str){reply->element[i]->str, reply->element[i]->len};
    look.seq = sound ? (uint64_t)reply->element[0]->integer : 0;
    conclude(call, sound && read_look(call, words, count, &look) ? &look : NULL);
}

static void on_origin(void *arg, const struct origin_answer *answer)
{
    struct look_call *call = arg;
    struct str words[MOST_WORDS], texts = answer->texts;
    struct look look = {.seq = answer->number};
    size_t count = 0;
    while (count < MOST_WORDS && call_answer_next(&texts, &words[count]))
        count++;
    conclude(call, answer->verdict == VERDICT_OK && read_look(call, words, count, &look) ? &look : NULL);
}

static bool is_core(const struct worker *worker, const struct unit *unit)
{
    const struct view *view = worker->view;
    return view->table->core_unit != NO_UNIT && view->units[view->table->core_unit].unit == unit;
}

static bool ask_copy(struct look_call *call, struct worker *worker, struct unit *unit, struct str collection,
                     const char *behind, const char *most)
{
    char key[PROTOCOL_KEY_MAX];
    struct broker *broker = queue_copy(worker->queue, unit, &call->epoch);
    collection_key(key, str_of(unit->name), collection, "");
    const char *words[] = {"FCALL", "ldc1_c_changes", "1", key, behind, most};
    return broker != NULL && broker_command(broker, on_copy, call, 6, words, NULL);
}

static bool ask_origin(struct look_call *call, struct worker *worker, struct str collection, const char *behind,
                       const char *most)
{
    const struct str words[] = {str_of(behind), str_of(most)};
    struct origin_answer ignored;
    call->origin = (struct origin_call){.collection = collection, .key = STR_LIT(""), .done = on_origin, .arg = call};
    call->message = collection_origin_ask(worker, &call->origin, STR_LIT("ldc1_c_origin_changes"), words, 2, &ignored);
    return call->message != NULL;
}

struct look_call *look_start(struct worker *worker, struct unit *unit, struct str collection, struct stream_id behind,
                             unsigned most, look_done_fn done, void *arg)
{
    char behind_text[STREAM_ID_TEXT], most_text[21];
    struct look_call *call = mem_calloc(1, sizeof(*call));
    call->done = done;
    call->arg = arg;
    stream_id_format(behind_text, behind);
    most_text[str_from_u64(most, most_text)] = '\0';
    bool asked = is_core(worker, unit) ? ask_origin(call, worker, collection, behind_text, most_text)
                                       : ask_copy(call, worker, unit, collection, behind_text, most_text);
    if (!asked) {
        free(call);
        return NULL;
    }
    return call;
}

void look_forget(struct look_call *call)
{
    call->done = NULL;
    if (call->message == NULL)
        return;
    message_forget(call->message);
    free(call);
}
