/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/collection_origin.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/collection_value.h"
#include "gateway/queue.h"

/* --- what came back ----------------------------------------------------------------------------------------------- */

static struct origin_answer answer_of(const struct publish_result *result)
{
    struct origin_answer answer = {
        .verdict = result->verdict, .detail = result->detail, .epoch = result->epoch, .durability = result->durability};
    if (result->answer != NULL) {
        answer.number = result->answer->numbers[0];
        answer.texts = buf_str(&result->answer->texts);
    }
    return answer;
}

/* Nothing is lost with a question: whoever asks may ask again. */
static void on_read(void *arg, const struct publish_result *result)
{
    struct origin_call *call = arg;
    struct origin_answer answer = answer_of(result);
    struct str texts = answer.texts;
    call_answer_next(&texts, &answer.packed);
    if (answer.verdict == VERDICT_OUTCOME_UNKNOWN) {
        answer.verdict = VERDICT_BROKER_AWAY;
        answer.detail = "The core unit's broker or its replicas did not answer in time";
    }
    call->done(call->arg, &answer);
}

static enum origin_outcome outcome_of(const struct call_answer *answer)
{
    struct str texts = buf_str(&answer->texts), word;
    if (!call_answer_next(&texts, &word))
        return answer->numbers[1] != 0 ? ORIGIN_CREATED : ORIGIN_REPLACED;
    return str_equal(word, STR_LIT("absent")) ? ORIGIN_ABSENT : ORIGIN_CONFLICT;
}

static void on_written(void *arg, const struct publish_result *result)
{
    struct origin_call *call = arg;
    struct origin_answer answer = answer_of(result);
    if (answer.verdict == VERDICT_OK) {
        answer.outcome = outcome_of(result->answer);
        answer.replayed = call->keyed && result->answer->numbers[2] != 0;
    } else if (answer.verdict == VERDICT_OUTCOME_UNKNOWN) {
        answer.detail = "Send it again with the same Idempotency-Key, or read the value before";
    }
    call->done(call->arg, &answer);
}

/* --- the way there ------------------------------------------------------------------------------------------------ */

struct words {
    struct str function;
    const struct str *all;
    unsigned count;
    bool reads;
};

static struct message *publish(struct worker *worker, struct origin_call *call, const struct words *words,
                               h2o_mem_pool_t *pool, struct publish_result *refused)
{
    const struct table *table = worker->view->table;
    struct queue_call wire;
    queue_call_init_collection(&wire, pool, words->function, table->units[table->core_unit].name, call->collection);
    for (unsigned i = 0; i < words->count; i++)
        queue_call_add_word(&wire, words->all[i]);
    wire.reads = words->reads;
    wire.target.partition = call->order;
    struct publication publication = {.call = &wire,
                                      .durability = DURABILITY_AUTO,
                                      .timeout_ms = call->timeout_ms,
                                      .slot = UINT32_MAX,
                                      .done = words->reads ? on_read : on_written,
                                      .arg = call};
    return queue_send(worker->queue, worker->view->units[table->core_unit].unit, &publication, refused);
}

static struct message *send_words(struct worker *worker, struct origin_call *call, const struct words *words,
                                  struct origin_answer *refusal)
{
    h2o_mem_pool_t pool;
    struct publish_result refused = {.verdict = VERDICT_NO_COLLECTION};
    struct message *message = NULL;
    h2o_mem_init_pool(&pool);
    if (worker->view->table->core_unit != NO_UNIT) /* newer rules than those of the caller's request may have none */
        message = publish(worker, call, words, &pool, &refused);
    h2o_mem_clear_pool(&pool);
    *refusal = (struct origin_answer){.verdict = refused.verdict, .detail = refused.detail};
    return message;
}

static struct str bucket_of(struct str key, char *text)
{
    return (struct str){text, str_from_u64(collection_bucket(key), text)};
}

struct message *collection_origin_ask(struct worker *worker, struct origin_call *call, struct str function,
                                      const struct str *all, unsigned count, struct origin_answer *refusal)
{
    struct words words = {.function = function, .all = all, .count = count, .reads = true};
    return send_words(worker, call, &words, refusal);
}

struct message *collection_origin_get(struct worker *worker, struct origin_call *call, struct origin_answer *refusal)
{
    char bucket[20];
    struct str words[] = {call->key, bucket_of(call->key, bucket)};
    return collection_origin_ask(worker, call, STR_LIT(QUEUE_CALL_GET), words, 2, refusal);
}

#define PRINT_SIZE 18

/* Says which request an Idempotency-Key was used for: what is put, or that it is deleted. */
static struct str print_of(const struct origin_call *call, char *text)
{
    struct collection_value value = {.type = {NULL, 0}};
    bool puts = collection_unpack(call->packed, &value);
    uint64_t check = puts ? value.check : collection_check(call->key, STR_LIT(""), STR_LIT(""));
    return (struct str){text, (size_t)snprintf(text, PRINT_SIZE, "%c%016" PRIx64, puts ? 'p' : 'd', check)};
}

struct message *collection_origin_put(struct worker *worker, struct origin_call *call, struct origin_answer *refusal)
{
    char bucket[20], print[PRINT_SIZE];
    struct str all[] = {call->key, bucket_of(call->key, bucket), call->condition, call->packed,
                        call->id,  print_of(call, print)};
    struct words words = {.function = call->keyed ? STR_LIT(QUEUE_CALL_REPLAY) : STR_LIT(QUEUE_CALL_PUT),
                          .all = all,
                          .count = call->keyed ? 6 : 5};
    return send_words(worker, call, &words, refusal);
}
