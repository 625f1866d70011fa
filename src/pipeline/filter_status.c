#include "pipeline/filter_status.h"

static void metric_member(struct bytes name, int64_t value, void *user_data)
{
    struct json_writer *w = user_data;
    json_name_bytes(w, name);
    json_int(w, value);
}

void filter_status(struct filter *filter, struct json_writer *w)
{
    struct filter_counts counts;
    filter_counts_get(filter, &counts);
    json_name(w, "instances_made");
    json_uint(w, counts.instances_made);
    json_name(w, "instances_discarded");
    json_uint(w, counts.instances_discarded);
    json_name(w, "metrics");
    json_object_begin(w);
    filter_metrics(filter, metric_member, w);
    json_object_end(w);
}
