/* What becomes of an event that a filter fails on, or that is no event. */
#ifndef SOREX_PIPELINE_ON_ERROR_H
#define SOREX_PIPELINE_ON_ERROR_H

enum on_error {
    ON_ERROR_HALT, /* all ends before it */
    ON_ERROR_SKIP, /* it is left out */
    ON_ERROR_PASS  /* the filter is passed over; what is no event goes on as it came */
};

extern const char *const on_error_words[]; /* in this order; ends with NULL */

#endif
