/* PostgreSQL's port over the states of states.h, for clients in other languages: prints the port, serves until standard
 * input ends, then prints what the server counted.
 *
 * usage: postgres_host DIRECTORY CACHE ADDRESS SQL CONNECTIONS STATEMENT_TIMEOUT_MS */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/check.h"
#include "serve/states.h"

int main(int argc, char **argv)
{
    struct states states;
    struct sorex_error err = {0};
    struct postgres_port *server;
    struct postgres_port_status status;
    if (argc != 7) {
        (void)fputs("usage: postgres_host DIRECTORY CACHE ADDRESS SQL CONNECTIONS STATEMENT_TIMEOUT_MS\n", stderr);
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    states_open(&states, argv[1], argv[2], argv[4]);
    const struct postgres_port_options options = {.address = argv[3],
                                                  .connections_max = (uint32_t)strtoul(argv[5], NULL, 10),
                                                  .statement_timeout_ms = strtoul(argv[6], NULL, 10),
                                                  .states = states_provider(&states)};
    if (postgres_port_start(&options, &server, &err) != SOREX_OK) {
        fprintf(stderr, "postgres_host: %s\n", err.text);
        return 1;
    }
    printf("%u\n", postgres_port_number(server));
    (void)fflush(stdout);
    for (int byte = 0; byte != EOF;)
        byte = getchar();
    postgres_port_status(server, &status);
    postgres_port_stop(server);
    states_close(&states);
    printf("{\"connections\":%u,\"opened\":%llu,\"refused\":%llu,\"cancelled\":%llu}\n", status.connections,
           (unsigned long long)status.opened, (unsigned long long)status.refused, (unsigned long long)status.cancelled);
    return 0;
}
