/* What a filter tells about itself, wherever it runs. */
#ifndef SOREX_PIPELINE_FILTER_STATUS_H
#define SOREX_PIPELINE_FILTER_STATUS_H

#include "guest/filter.h"
#include "json/writer.h"

/* Writes the members instances_made, instances_discarded and metrics (what its module records) into an open object. Thread: any. */
void filter_status(struct filter *filter, struct json_writer *w);

#endif
