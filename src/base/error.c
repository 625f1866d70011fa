/* See include/sorex/status.h. Texts are cut at SOREX_ERROR_TEXT_MAX, never allocated: an error can be reported when memory is gone. */
#include "sorex/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *sorex_status_name(enum sorex_status status)
{
    switch (status) {
#define NAME(name, text, action)                                                                   \
    case SOREX_##name:                                                                             \
        return text;
        SOREX_STATUS_LIST(NAME)
#undef NAME
    }
    return "unknown";
}

SOREX_PRINTF(4, 0)
static void error_format(struct sorex_error *err, enum sorex_status status, int native, const char *format, va_list args)
{
    err->status = status;
    err->native = native;
    if (vsnprintf(err->text, sizeof err->text, format, args) < 0)
        err->text[0] = '\0';
}

enum sorex_status sorex_error_set(struct sorex_error *err, enum sorex_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        error_format(err, status, 0, format, args);
        va_end(args);
    }
    return status;
}

enum sorex_status sorex_error_set_errno(struct sorex_error *err, enum sorex_status status, int native, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        error_format(err, status, native, format, args);
        va_end(args);
        size_t used = strlen(err->text);
        char reason[128];
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", strerror_r(native, reason, sizeof reason));
    }
    return status;
}

enum sorex_status sorex_error_prefix(struct sorex_error *err, const char *format, ...)
{
    if (err == NULL)
        return SOREX_FATAL;
    char prefix[256];
    va_list args;
    va_start(args, format);
    int written = vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    if (written < 0)
        return err->status;
    size_t length = strlen(prefix);
    size_t room = sizeof err->text - length - 3;
    size_t text = strnlen(err->text, room);
    memmove(err->text + length + 2, err->text, text);
    memcpy(err->text, prefix, length);
    err->text[length] = ':';
    err->text[length + 1] = ' ';
    err->text[length + 2 + text] = '\0';
    return err->status;
}
