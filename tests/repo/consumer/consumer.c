#include <stdio.h>
#include <string.h>

#include <sorex/status.h>

int main(void)
{
    struct sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || strcmp(err.text, "x") != 0)
        return 1;
    printf("sorex %s\n", sorex_status_name(err.status));
    return 0;
}
