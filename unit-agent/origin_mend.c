/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/origin_mend.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/broker_record.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/protocol.h"
#include "unit-agent/bucket_proof.h"
#include "unit-agent/primary.h"

#define SOON_US  20000
#define AGAIN_US 1000000 /* until witnesses are asked again that could prove nothing, or were not there */
#define PATIENCE 5       /* rounds of questions without a proof, until the log hears that nobody can prove it */

/* A unit whose copies may know better. */
struct witness {
    struct witness *next;
    char *unit, *by_rules;
    struct primary primary;
    bool listed; /* the rules in force name it */
};

/* A collection with wrong buckets. */
struct patient {
    struct patient *next;
    struct str name;
    char at[PROTOCOL_KEY_MAX];
    bool wrong[COLLECTION_BUCKETS];
    uint8_t rounds[COLLECTION_BUCKETS]; /* of questions, without a proof */
    size_t wrong_count;
};

/* RESTS -> asks a witness for a wrong bucket -> asks the origin -> writes what is proven, and has the sum made anew ->
 * RESTS. What is not proven is asked of the next witness. */
struct origin_mend {
    struct origin_mend_config config;
    sd_event *loop;
    sd_event_source *timer;
    struct witness *witnesses;
    struct patient *patients;
    bool busy;
    struct patient *patient; /* and its bucket that is looked at, */
    uint32_t number;
    struct witness *witness; /* with this witness, */
    struct bucket *evidence; /* as it has it; NULL: not known yet */
    enum bucket_proof proof; /* that came of it */
    size_t alike;            /* witnesses that have just what the origin has */
    size_t written, awaited; /* values that are written again; of these, not answered yet */
    bool refused;            /* one of them was not written */
};

/* --- what is wrong ------------------------------------------------------------------------------------------------ */

static void set_wrong(struct origin_mend *mend, struct patient *patient, uint32_t number, bool wrong)
{
    if (patient->wrong[number] == wrong)
        return;
    patient->wrong[number] = wrong;
    patient->rounds[number] = 0;
    patient->wrong_count += wrong ? 1 : (size_t)-1;
    stat_add(&mend->config.stats->agent_origin_buckets_wrong, wrong ? 1 : (uint64_t)-1);
}

static struct patient *patient_of(struct origin_mend *mend, struct str name)
{
    struct patient *patient = mend->patients;
    while (patient != NULL && !str_equal(patient->name, name))
        patient = patient->next;
    if (patient != NULL)
        return patient;
    patient = mem_calloc(1, sizeof(*patient));
    patient->name = (struct str){str_dup(name), name.len};
    collection_key(patient->at, str_of(mend->config.options->unit), name, "");
    patient->next = mend->patients;
    mend->patients = patient;
    return patient;
}

bool origin_mend_take(struct origin_mend *mend, struct str collection, uint32_t number)
{
    struct patient *patient = patient_of(mend, collection);
    bool news = !patient->wrong[number];
    set_wrong(mend, patient, number, true);
    if (news && !mend->busy)
        loop_wake_in(mend->timer, SOON_US);
    return news;
}

static void rest(struct origin_mend *mend, uint64_t us)
{
    free(mend->evidence);
    mend->evidence = NULL;
    mend->busy = false;
    loop_wake_in(mend->timer, us);
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void tell(struct origin_mend *mend)
{
    if (mend->witness != NULL)
        log_warning("collection.mended", "%sb/%u at its origin: %zu values were written again, as %s has them",
                    mend->patient->at, mend->number, mend->written, mend->witness->unit);
    else
        log_warning("collection.mended", "%sb/%u at its origin: its sum was made anew, every unit has the same values",
                    mend->patient->at, mend->number);
    stat_add(&mend->config.stats->agent_origin_values_mended_total, mend->written);
}

static void on_resummed(void *arg, const redisReply *reply)
{
    struct origin_mend *mend = arg;
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER) {
        tell(mend);
        set_wrong(mend, mend->patient, mend->number, false);
    }
    rest(mend, SOON_US);
}

static bool call(struct origin_mend *mend, const char *name, const struct str *args, size_t count, broker_reply_fn done)
{
    struct broker *broker = mend->config.broker(mend->config.arg);
    char epoch[24];
    const char *words[5 + BUCKET_CHANGE_WORDS] = {"FCALL", name, "1", mend->patient->at, epoch};
    size_t lens[5 + BUCKET_CHANGE_WORDS];
    snprintf(epoch, sizeof(epoch), "%" PRIu64, mend->config.epoch(mend->config.arg));
    for (size_t i = 0; i < 5; i++)
        lens[i] = strlen(words[i]);
    for (size_t i = 0; i < count; i++) {
        words[5 + i] = args[i].base;
        lens[5 + i] = args[i].len;
    }
    return broker != NULL && broker_command(broker, done, mend, (int)(5 + count), words, lens);
}

/* The sum is made anew only where all that it is made of is proven: else it is the one witness to what is wrong still.
 */
static void end_writing(struct origin_mend *mend)
{
    char number[16];
    const struct str args[] = {{number, (size_t)snprintf(number, sizeof(number), "%u", mend->number)}};
    bool whole = mend->proof == BUCKET_WHOLE_PROVEN && !mend->refused;
    if (whole && call(mend, "ldc1_c_resum", args, 1, on_resummed))
        return;
    if (!whole && mend->written > 0 && !mend->refused)
        tell(mend);
    rest(mend, AGAIN_US);
}

static void on_written(void *arg, const redisReply *reply)
{
    struct origin_mend *mend = arg;
    bool done = reply != NULL && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
                reply->element[0]->type == REDIS_REPLY_INTEGER;
    mend->refused |= !done;
    if (--mend->awaited == 0)
        end_writing(mend);
}

static void write_again(void *arg, const struct str words[BUCKET_CHANGE_WORDS])
{
    struct origin_mend *mend = arg;
    bool sent = call(mend, "ldc1_c_put", words, BUCKET_CHANGE_WORDS, on_written);
    mend->awaited += sent;
    mend->written += sent;
    mend->refused |= !sent;
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static bool is_of_use(const struct witness *witness)
{
    return witness->listed && primary_is_ready(&witness->primary);
}

static struct witness *next_witness(struct witness *witness)
{
    while (witness != NULL && !is_of_use(witness))
        witness = witness->next;
    return witness;
}

static void ask_witness(struct origin_mend *mend, struct witness *witness);

static void give_up(struct origin_mend *mend)
{
    struct patient *patient = mend->patient;
    if (patient->rounds[mend->number] < PATIENCE && ++patient->rounds[mend->number] == PATIENCE)
        log_error("collection.unmended", "%sb/%u at its origin is wrong, and no unit's copy proves what it should be",
                  patient->at, mend->number);
    rest(mend, AGAIN_US / patient->wrong_count);
}

/* A copy that was made after the damage has what the origin has, and proves nothing by that; that all of them were is
 * another matter. */
static void conclude(struct origin_mend *mend)
{
    size_t listed = 0;
    for (const struct witness *witness = mend->witnesses; witness != NULL; witness = witness->next)
        listed += witness->listed;
    if (mend->alike == 0 || mend->alike < listed) {
        give_up(mend);
        return;
    }
    mend->proof = BUCKET_WHOLE_PROVEN;
    mend->written = 0;
    end_writing(mend);
}

static void on_origin(void *arg, const redisReply *reply)
{
    struct origin_mend *mend = arg;
    struct bucket bucket;
    if (!bucket_read(reply, mend->number, 1, 0, &bucket)) {
        rest(mend, AGAIN_US);
        return;
    }
    if (bucket_judge(&bucket, NULL) == BUCKET_SOUND) {
        set_wrong(mend, mend->patient, mend->number, false);
        rest(mend, SOON_US);
        return;
    }
    mend->written = mend->awaited = 0;
    mend->refused = false;
    mend->proof = bucket_prove(&bucket, mend->evidence, write_again, mend);
    mend->alike += mend->proof == BUCKET_ALIKE;
    if (mend->proof <= BUCKET_ALIKE)
        ask_witness(mend, mend->witness->next);
    else if (mend->awaited == 0)
        end_writing(mend);
}

static void on_evidence(void *arg, const redisReply *reply)
{
    struct origin_mend *mend = arg;
    struct bucket bucket;
    struct broker *broker = mend->config.broker(mend->config.arg);
    if (!bucket_read(reply, mend->number, 1, 0, &bucket) || bucket_judge(&bucket, NULL) != BUCKET_SOUND) {
        ask_witness(mend, mend->witness->next);
        return;
    }
    free(mend->evidence);
    mend->evidence = bucket_dup(&bucket);
    if (broker == NULL || !bucket_ask(broker, mend->patient->at, mend->number, 1, on_origin, mend))
        rest(mend, AGAIN_US);
}

static void ask_witness(struct origin_mend *mend, struct witness *witness)
{
    char at[PROTOCOL_KEY_MAX];
    mend->witness = next_witness(witness);
    if (mend->witness == NULL) {
        conclude(mend);
        return;
    }
    collection_key(at, str_of(mend->witness->unit), mend->patient->name, "");
    mend->busy = bucket_ask(mend->witness->primary.broker, at, mend->number, 1, on_evidence, mend);
    if (!mend->busy)
        rest(mend, AGAIN_US);
}

/* --- in turn ------------------------------------------------------------------------------------------------------ */

static void connect_to(struct origin_mend *mend, bool wanted)
{
    for (struct witness *witness = mend->witnesses; witness != NULL; witness = witness->next)
        if (!wanted || !witness->listed)
            primary_close(&witness->primary);
        else if (witness->primary.url == NULL)
            primary_adopt(&witness->primary, str_of(witness->by_rules));
}

/* The next wrong bucket of any collection; of one that could not be mended, the others come first. */
static bool choose(struct origin_mend *mend)
{
    struct patient *patient = mend->patient != NULL ? mend->patient : mend->patients;
    for (const struct patient *each = mend->patients; each != NULL; each = each->next) {
        for (uint32_t i = 1; i <= COLLECTION_BUCKETS && patient->wrong_count > 0; i++) {
            uint32_t number = (mend->number + i) % COLLECTION_BUCKETS;
            if (!patient->wrong[number])
                continue;
            mend->patient = patient;
            mend->number = number;
            return true;
        }
        patient = patient->next != NULL ? patient->next : mend->patients;
    }
    return false;
}

static int on_time(sd_event_source *source, uint64_t at_us, void *arg)
{
    (void)at_us;
    struct origin_mend *mend = arg;
    if (mend->busy)
        return 0;
    bool any = choose(mend), may = any && mend->config.broker(mend->config.arg) != NULL;
    connect_to(mend, any);
    if (!any)
        return 0;
    mend->alike = 0;
    mend->refused = false;
    if (may)
        ask_witness(mend, mend->witnesses);
    else
        loop_wake_in(source, AGAIN_US);
    return 0;
}

/* --- who may know ------------------------------------------------------------------------------------------------- */

static struct witness *witness_of(struct origin_mend *mend, struct str unit)
{
    struct witness **slot = &mend->witnesses;
    while (*slot != NULL && !str_equal(str_of((*slot)->unit), unit))
        slot = &(*slot)->next;
    if (*slot == NULL) {
        *slot = mem_calloc(1, sizeof(**slot));
        (*slot)->unit = str_dup(unit);
        primary_init(&(*slot)->primary, mend->loop, mend->config.options, mend->config.password, NULL, NULL);
    }
    return *slot;
}

void origin_mend_adopt(struct origin_mend *mend, const struct table *table)
{
    for (struct witness *witness = mend->witnesses; witness != NULL; witness = witness->next)
        witness->listed = false;
    for (uint32_t i = 0; i < table->unit_count; i++) {
        const struct table_unit *unit = &table->units[i];
        if (unit->broker_count == 0 || str_equal(unit->name, str_of(mend->config.options->unit)))
            continue;
        struct witness *witness = witness_of(mend, unit->name);
        free(witness->by_rules);
        witness->by_rules = str_dup(unit->brokers[0]);
        witness->listed = true;
    }
}

static void follow(struct witness *witness, struct store *store)
{
    char name[96];
    struct buf text = {NULL, 0, 0};
    struct broker_record record;
    struct error err;
    uint64_t version = 0;
    broker_record_name(name, sizeof(name), str_of(witness->unit));
    if (store_document_get(store, name, &text, &version, &err) == 0 && version > 0 &&
        broker_record_parse(buf_str(&text), &record, &err) == 0)
        primary_adopt(&witness->primary, str_of(record.primary));
    buf_free(&text);
}

void origin_mend_sync(struct origin_mend *mend, struct store *store)
{
    for (struct witness *witness = mend->witnesses; witness != NULL; witness = witness->next)
        if (witness->primary.url != NULL)
            follow(witness, store);
}

/* --- its life ----------------------------------------------------------------------------------------------------- */

struct origin_mend *origin_mend_create(sd_event *loop, const struct origin_mend_config *config)
{
    struct origin_mend *mend = mem_calloc(1, sizeof(*mend));
    mend->config = *config;
    mend->loop = loop;
    mend->timer = loop_timer(loop, on_time, mend);
    return mend;
}

static void end_witness(struct origin_mend *mend)
{
    struct witness *witness = mend->witnesses;
    mend->witnesses = witness->next;
    primary_close(&witness->primary);
    free(witness->unit);
    free(witness->by_rules);
    free(witness);
}

void origin_mend_destroy(struct origin_mend **slot)
{
    struct origin_mend *mend = *slot;
    if (mend == NULL)
        return;
    *slot = NULL;
    while (mend->witnesses != NULL)
        end_witness(mend);
    for (struct patient *patient; (patient = mend->patients) != NULL;) {
        mend->patients = patient->next;
        free((char *)patient->name.base);
        free(patient);
    }
    sd_event_source_disable_unref(mend->timer);
    free(mend->evidence);
    free(mend);
}
