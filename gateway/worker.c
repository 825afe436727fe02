/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/worker.h"

#include <openssl/rand.h>
#include <semaphore.h>
#include <stdlib.h>

#include "common/invariant.h"
#include "gateway/access_log.h"
#include "gateway/collection_watch.h"
#include "gateway/copy_choice.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "gateway/listener.h"
#include "gateway/loop_time.h"
#include "gateway/proxy.h"
#include "gateway/queue.h"
#include "gateway/reply.h"
#include "gateway/request.h"
#include "gateway/sampler.h"

struct mail {
    h2o_multithread_message_t message;
    void (*fn)(struct worker *worker, void *arg);
    void *arg;
};

static inline uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* xoshiro256** by Blackman and Vigna. */
uint64_t worker_random(struct worker *worker)
{
    uint64_t *s = worker->random, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

static void open_mail(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    struct worker *worker = H2O_STRUCT_FROM_MEMBER(struct worker, mail, receiver);
    while (!h2o_linklist_is_empty(messages)) {
        struct mail *mail = H2O_STRUCT_FROM_MEMBER(struct mail, message.link, messages->next);
        h2o_linklist_unlink(&mail->message.link);
        mail->fn(worker, mail->arg);
        free(mail);
    }
}

void worker_post(struct worker *worker, void (*fn)(struct worker *worker, void *arg), void *arg)
{
    struct mail *mail = mem_calloc(1, sizeof(*mail));
    mail->fn = fn;
    mail->arg = arg;
    h2o_multithread_send_message(&worker->mail, &mail->message);
}

static void adopt(struct worker *worker, void *arg)
{
    struct view *before = worker->view;
    worker->view = arg;
    queue_adopt(worker->queue, worker->view);
    holds_follow(worker->holds);
    watches_adopt(worker->watches);
    view_unref(&before);
    atomic_store_explicit(&worker->epoch, worker->view->table->epoch, memory_order_release);
}

void worker_adopt(struct worker *worker, struct view *view)
{
    view_ref(view);
    worker_post(worker, adopt, view);
}

void worker_drain(struct worker *worker, void *unused)
{
    (void)unused;
    worker->draining = true;
    listener_stop(worker->listener);
    watches_drain(worker->watches);
}

static void stop(struct worker *worker, void *arg)
{
    (void)arg;
    worker->stopping = true;
}

/* What the turn's requests have left behind leaves in one write a broker and one write a log file. */
static void end_turn(struct worker *worker)
{
    queue_flush(worker->queue);
    replies_flush(worker->replies);
    watches_flush(worker->watches);
    access_log_flush(worker->access_log);
}

static void configure_h2o(struct worker *worker)
{
    const struct gateway_config *config = &worker->gateway->config;
    h2o_globalconf_t *h2o = &worker->h2o_config;
    h2o_config_init(h2o);
    h2o->server_name = h2o_iovec_init(H2O_STRLIT("ldcgate"));
    h2o->max_request_entity_size = (size_t)config->limits.body;
    h2o->handshake_timeout = (uint64_t)config->limits.head_timeout;
    h2o->http2.idle_timeout = (uint64_t)config->limits.idle_timeout;
    h2o->http2.max_concurrent_requests_per_connection = (size_t)config->limits.http2_streams;
    h2o->http1.upgrade_to_http2 = 0;
    h2o_hostconf_t *host = h2o_config_register_host(h2o, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_handler_t *handler = h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(*handler));
    handler->on_req = request_on_req;
}

void worker_reconfigure(struct worker *worker)
{
    const struct gateway_config *config = &worker->gateway->config;
    worker->h2o_config.max_request_entity_size = (size_t)config->limits.body;
    worker->h2o.handshake_timeout.timeout = (uint64_t)config->limits.head_timeout;
    worker->h2o.http2.idle_timeout.timeout = (uint64_t)config->limits.idle_timeout;
}

static void create_parts(struct worker *worker)
{
    configure_h2o(worker);
    INVARIANT(RAND_bytes((unsigned char *)worker->random, sizeof(worker->random)) == 1);
    h2o_context_init(&worker->h2o, h2o_evloop_create(), &worker->h2o_config);
    INVARIANT(loop_time_rules());
    worker->timers.loop = worker->h2o.loop;
    worker->mail_queue = h2o_multithread_create_queue(worker->h2o.loop);
    h2o_multithread_register_receiver(worker->mail_queue, &worker->mail, open_mail);
    worker->accept = (h2o_accept_ctx_t){.ctx = &worker->h2o, .hosts = worker->h2o_config.hosts};
    worker->sampler = sampler_create();
    worker->queue = queue_create(worker);
    worker->copies = copies_create(worker);
    worker->replies = replies_create(worker);
    worker->holds = holds_create(worker);
    worker->watches = watches_create(worker);
    worker->proxy = proxy_create(worker);
    worker->access_log = access_log_create(worker);
}

/* The loop and its pools stay for the exit of the process: connections that are still open borrow from them. */
static void destroy_parts(struct worker *worker)
{
    if (worker->proxy != NULL)
        proxy_close_tunnels(worker->proxy);
    listener_destroy(&worker->listener);
    holds_destroy(&worker->holds);
    watches_destroy(&worker->watches);
    proxy_destroy(&worker->proxy);
    queue_destroy(&worker->queue);
    copies_destroy(&worker->copies);
    replies_destroy(&worker->replies);
    access_log_destroy(&worker->access_log);
    sampler_destroy(&worker->sampler);
    view_unref(&worker->view);
    timers_dispose(&worker->timers);
}

/* The start of one thread; lent to it by worker_start(), which waits. */
struct start {
    struct worker *worker;
    sem_t over;
    int result;
    struct error *err;
};

static int begin(struct worker *worker, struct error *err)
{
    create_parts(worker);
    if (worker->gateway->view != NULL) {
        view_ref(worker->gateway->view);
        adopt(worker, worker->gateway->view);
    }
    return listener_create(worker, &worker->listener, err);
}

/* All parts are made and released here: libh2o keeps its spare buffers a thread, and each socket stays tied to those
 * of the thread that made it. */
static void *run(void *arg)
{
    struct start *start = arg;
    struct worker *worker = start->worker;
    int result = start->result = begin(worker, start->err);
    sem_post(&start->over); /* `start` is gone from here on */
    while (result == 0 && !worker->stopping) {
        h2o_evloop_run(worker->h2o.loop, INT32_MAX);
        end_turn(worker);
    }
    destroy_parts(worker);
    return NULL;
}

int worker_start(struct worker *worker, struct gateway *gateway, unsigned index, struct error *err)
{
    struct start start = {.worker = worker, .err = err};
    worker->gateway = gateway;
    worker->index = index;
    INVARIANT(sem_init(&start.over, 0, 0) == 0);
    int failed = pthread_create(&worker->thread, NULL, run, &start);
    if (failed != 0) {
        sem_destroy(&start.over);
        return error_set_errno(err, failed, "cannot start ingress thread %u", index);
    }
    while (sem_wait(&start.over) == -1)
        ;
    sem_destroy(&start.over);
    if (start.result != 0)
        pthread_join(worker->thread, NULL);
    return start.result;
}

void worker_stop(struct worker *worker)
{
    worker_post(worker, stop, NULL);
    pthread_join(worker->thread, NULL);
}
