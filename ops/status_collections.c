/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/status_collections.h"

#include <stdio.h>

/* Of all copies of one collection. */
static void add_copy(json_t *sums, const json_t *copy)
{
    const char *collection = ctl_text(copy, "collection");
    json_t *sum = json_object_get(sums, collection);
    if (sum == NULL) {
        sum = json_pack("{s:I,s:I,s:I,s:I,s:I}", "copies", (json_int_t)0, "open", (json_int_t)0, "seq_lag",
                        (json_int_t)0, "time_lag_ms", (json_int_t)0, "bad", (json_int_t)0);
        json_object_set_new(sums, collection, sum);
    }
    json_object_set_new(sum, "copies", json_integer((json_int_t)fleet_number(sum, "copies") + 1));
    json_object_set_new(
        sum, "open", json_integer((json_int_t)fleet_number(sum, "open") + json_is_true(json_object_get(copy, "open"))));
    json_object_set_new(sum, "bad", json_integer((json_int_t)fleet_number(sum, "bad") + (*ctl_text(copy, "bad") != 0)));
    static const char *const worst[] = {"seq_lag", "time_lag_ms"};
    for (size_t i = 0; i < 2; i++)
        if (fleet_number(copy, worst[i]) > fleet_number(sum, worst[i]))
            json_object_set(sum, worst[i], json_object_get(copy, worst[i]));
}

static void add_copies(json_t *sums, const json_t *copies)
{
    for (size_t i = 0; i < json_array_size(copies); i++)
        add_copy(sums, json_array_get(copies, i));
}

void status_print_collections(const struct fleet *fleet)
{
    json_t *sums = json_object(), *sum;
    const char *collection;
    for (size_t i = 0; i < fleet->count; i++) {
        const json_t *status = fleet->members[i].status, *guests = json_object_get(status, "guests");
        add_copies(sums, json_object_get(status, "copies"));
        for (size_t j = 0; j < json_array_size(guests); j++)
            add_copies(sums, json_object_get(json_array_get(guests, j), "copies"));
    }
    struct grid grid;
    grid_begin(&grid, "COLLECTION|>COPIES|>OPEN|>MOST BEHIND|>MOST LAG MS|>WITH BAD BUCKETS");
    json_object_foreach(sums, collection, sum) {
        grid_add(&grid, "%s", collection);
        fleet_add_count(&grid, sum, "copies");
        fleet_add_count(&grid, sum, "open");
        fleet_add_count(&grid, sum, "seq_lag");
        fleet_add_count(&grid, sum, "time_lag_ms");
        fleet_add_count(&grid, sum, "bad");
    }
    struct buf text = {0};
    grid_end(&grid, &text);
    if (json_object_size(sums) > 0)
        printf("\n%s", text.base);
    buf_free(&text);
    json_decref(sums);
}
