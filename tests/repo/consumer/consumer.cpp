#include <cstring>
#include <iostream>

#include <sorex/status.h>

int main()
{
    sorex_error err;
    if (sorex_error_set(&err, SOREX_CORRUPT, "%s", "x") != SOREX_CORRUPT || std::strcmp(err.text, "x") != 0)
        return 1;
    std::cout << "sorex " << sorex_status_name(err.status) << "\n";
    return 0;
}
