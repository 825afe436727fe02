/* SPDX-License-Identifier: Apache-2.0 */
#include "rules/compile.h"

#define LAGGARD_MS 1000 /* broker.replica_timeout of agents, if they say nothing else */

static bool has_standby(const struct table *table)
{
    for (uint32_t i = 0; i < table->unit_count; i++)
        if (table->units[i].standby != NO_UNIT)
            return true;
    return false;
}

void compile_failover(struct compiler *compiler)
{
    const struct model_failover *model = &compiler->model->failover;
    compiler->table->failover = (struct table_failover){.automatic = model->automatic.value == 1,
                                                        .gap_ms = model->gap.value,
                                                        .cooldown_ms = model->cooldown.value,
                                                        .window_ms = model->window.value,
                                                        .clean_ms = model->clean.value,
                                                        .max_units = (uint32_t)model->max_units.value,
                                                        .max_share = (uint32_t)model->max_share.value};
    const struct yaml_node *mapping = compiler->model->top.failover;
    if (mapping == NULL)
        return;
    if (model->cooldown.value < model->window.value)
        FAULT(compiler->diags, model->cooldown.at.line > 0 ? model->cooldown.at : model->window.at, NULL,
              "cooldown is shorter than window: the same unit could be moved to and fro within the window");
    if (model->gap.value >= LAGGARD_MS)
        WARNING(compiler->diags, model->gap.at,
                "a gap that is shorter than broker.replica_timeout of the agents, which is 1s if unset",
                "with so long a gap a primary that is cut off strikes its standby off first, and nobody can take over");
    if (!has_standby(compiler->table))
        WARNING(compiler->diags, *mapping, "name a unit's standby in `standby`, and further brokers in `brokers`",
                "no unit has a standby, so none can fail over");
}
