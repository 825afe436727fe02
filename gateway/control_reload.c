/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "gateway/access_log.h"
#include "gateway/control.h"
#include "gateway/tls.h"
#include "gateway/workers.h"

/* What comes into force while all workers stand still. */
struct change {
    struct gateway_config config;
    struct peer_networks peers;
};

static int read_config(struct control *control, struct gateway_config *config, struct error *err)
{
    struct diag_list diags = {.file = control->config_path};
    struct buf text = {NULL, 0, 0};
    int result = 0;
    if (gateway_config_load(control->config_path, control->overrides, config, &diags) == -1) {
        diag_print(&diags, &text);
        result = error_set(err, ERROR_INPUT, "%s", text.base ? text.base : "");
    } else if (options_unreloadable(gateway_options, gateway_option_count, &control->gateway->config, config, &text)) {
        result = error_set(err, ERROR_REFUSED, "these options take effect at a restart only: %s", text.base);
    }
    buf_free(&text);
    diag_free(&diags);
    return result;
}

static int check_access_log(const char *path, struct error *err)
{
    int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640) : -1;
    if (path != NULL && fd == -1)
        return error_set_errno(err, errno, "cannot open the access log %s", path);
    if (fd != -1)
        close(fd);
    return 0;
}

static void put_in_force(struct gateway *gateway, void *arg)
{
    struct change *change = arg;
    struct peer_networks before = gateway->trusted_peers;
    options_exchange(gateway_options, gateway_option_count, &gateway->config, &change->config);
    gateway->trusted_peers = change->peers;
    change->peers = before;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_reconfigure(&gateway->workers[i]);
}

static void change_access_log(struct worker *worker, void *arg)
{
    (void)arg;
    access_log_destroy(&worker->access_log);
    worker->access_log = access_log_create(worker);
}

static bool same_text(const char *a, const char *b)
{
    return str_equal(str_of(a), str_of(b));
}

static int reload_config(struct control *control, struct change *change, struct error *err)
{
    struct gateway *gateway = control->gateway;
    if (read_config(control, &change->config, err) == -1 || check_access_log(change->config.log.access, err) == -1 ||
        peer_networks_load(&change->peers, &change->config.ingress.trusted_peers, err) == -1 ||
        tls_reload(gateway->tls, &change->config, err) == -1)
        return -1;
    workers_pause(gateway, put_in_force, change);
    if (!same_text(gateway->config.log.access, change->config.log.access))
        workers_call(gateway, change_access_log, NULL);
    enum log_level level;
    if (log_level_parse(gateway->config.log.level, &level))
        log_setup("ldc-gateway", level);
    return 0;
}

int control_reload(struct control *control, struct error *err)
{
    struct change change = {0};
    int result = reload_config(control, &change, err);
    if (result == 0)
        result = rollout_renew_key(&control->rollout, err);
    options_free(gateway_options, gateway_option_count, &change.config);
    free(change.peers.items);
    control_sync(control);
    return result;
}
