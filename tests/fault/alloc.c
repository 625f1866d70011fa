#define ALLOC_REAL
#include "fault/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>

static atomic_ulong count, failing;
static char place[256];

unsigned long alloc_arm(unsigned long nth)
{
    unsigned long seen = atomic_exchange(&count, 0);
    place[0] = '\0';
    atomic_store(&failing, nth);
    return seen;
}

const char *alloc_failed(void) { return place; }

static bool fails(const char *file, int line)
{
    if (atomic_fetch_add(&count, 1) + 1 != atomic_load(&failing))
        return false;
    (void)snprintf(place, sizeof place, "%s:%d", file, line);
    return true;
}

void *alloc_malloc(size_t size, const char *file, int line) { return fails(file, line) ? NULL : malloc(size); }

void *alloc_calloc(size_t number, size_t size, const char *file, int line)
{
    return fails(file, line) ? NULL : calloc(number, size);
}

void *alloc_realloc(void *old, size_t size, const char *file, int line)
{
    return fails(file, line) ? NULL : realloc(old, size);
}

char *alloc_strdup(const char *text, const char *file, int line) { return fails(file, line) ? NULL : strdup(text); }

char *alloc_strndup(const char *text, size_t size, const char *file, int line)
{
    return fails(file, line) ? NULL : strndup(text, size);
}
