/* Modules of contract 3 from text, for tests: a good one whose parts are replaced, and events. */
#ifndef SOREX_TESTS_GUEST_FILTER_MODULE_H
#define SOREX_TESTS_GUEST_FILTER_MODULE_H

#include "guest/filter.h"

/* Text format; NULL is the good part. Bodies see the parameters $p, $n; transform of version 2 gives an i64. The good
 * module copies its input from 4096 to 32768 and has one page, so events have up to 28,000 bytes. */
struct module_parts {
    unsigned version; /* 0: 2 */
    const char *imports;
    const char *memory; /* "1" */
    const char *alloc;
    const char *dealloc;
    const char *transform;
    const char *output_len;
    const char *probe;
    const char *extra;
};

/* Opens the module; options NULL: "test", with 20 seconds, so that a busy machine makes no timeout. */
enum sorex_status module_open(const struct module_parts *parts, const struct filter_options *options,
                              struct filter **out, struct sorex_error *err);
/* From text that is the whole module. */
enum sorex_status module_open_text(const char *text, const struct filter_options *options, struct filter **out,
                                   struct sorex_error *err);

/* An insert whose `after` is {"id":ID,"pad":"xxx"} with so much padding; lives until the next call of
 * module_events_free. */
const struct event *module_event(unsigned id, size_t padding);
/* Any event, made canonical. */
const struct event *module_event_of(const char *json);
void module_events_free(void);

#endif
