/* SPDX-License-Identifier: Apache-2.0 */
#include "unit-agent/primary.h"

#include <stdlib.h>

#include "common/broker_event.h"

void primary_init(struct primary *primary, sd_event *loop, const struct agent_config *options, const char *password,
                  broker_state_fn changed, void *arg)
{
    *primary = (struct primary){
        .options = options, .password = password, .changed = changed, .arg = arg, .loop = broker_loop_of_event(loop)};
}

void primary_adopt(struct primary *primary, struct str url)
{
    if (primary->url != NULL && str_equal(str_of(primary->url), url))
        return;
    primary_close(primary);
    if (url.len == 0)
        return;
    primary->url = str_dup(url);
    primary->broker = broker_create(&primary->loop,
                                    &(struct broker_config){.url = primary->url,
                                                            .user = primary->options->broker.user,
                                                            .password = primary->password,
                                                            .command_timeout_ms = primary->options->broker.timeout,
                                                            .must_be_durable = primary->options->broker.must_be_durable,
                                                            .must_be_primary = true,
                                                            .functions = true},
                                    primary->changed, primary->arg);
}

bool primary_is_ready(const struct primary *primary)
{
    return primary->broker != NULL && broker_state(primary->broker) == BROKER_READY;
}

void primary_close(struct primary *primary)
{
    broker_destroy(&primary->broker);
    free(primary->url);
    primary->url = NULL;
}
