#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "sorex: bug: %s:%d: %s\n", file, line, condition);
    abort();
}
