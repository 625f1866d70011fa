#include "serve/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"

#define BACKLOG 128 /* who waits beyond that tries again after a second */
#define HOST_SIZE 256

/* ---- texts ---- */

static enum sorex_status refused(const struct listen_rules *rules, const char *address, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_INVALID, "%s: \"%s\" is not HOST:PORT, as in 127.0.0.1:%u or [::1]:%u%s",
                           rules->what, address, rules->example, rules->example,
                           rules->paths ? ", nor the path of a Unix socket" : "");
}

/* Splits at the last colon; what has none is a port. */
static enum sorex_status address_split(const struct listen_rules *rules, const char *address, char host[HOST_SIZE],
                                       const char **out_port, struct sorex_error *err)
{
    const char *colon = strrchr(address, ':');
    const char *begin = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    *out_port = colon != NULL ? colon + 1 : address;
    if (len > 2 && begin[0] == '[' && begin[len - 1] == ']') {
        begin++;
        len -= 2;
    } else if (memchr(begin, ':', len) != NULL || memchr(begin, '[', len) != NULL)
        len = HOST_SIZE; /* refused below */
    size_t digits = strspn(*out_port, "0123456789");
    if (len >= HOST_SIZE || digits == 0 || digits > 5 || (*out_port)[digits] != '\0' ||
        strtoul(*out_port, NULL, 10) > UINT16_MAX)
        return refused(rules, address, err);
    (void)snprintf(host, HOST_SIZE, "%.*s", (int)len, len == 0 ? "" : begin);
    if (len == 0)
        (void)snprintf(host, HOST_SIZE, "127.0.0.1");
    return SOREX_OK;
}

static enum sorex_status path_read(const struct listen_rules *rules, const char *path, struct sockaddr_un *out,
                                   struct sorex_error *err)
{
    size_t len = strlen(path);
    if (!rules->paths)
        return refused(rules, path, err);
    if (len >= sizeof out->sun_path)
        return sorex_error_set(err, SOREX_INVALID, "%s: the path of a Unix socket has at most %zu bytes: %s",
                               rules->what, sizeof out->sun_path - 1, path);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path, path, len);
    return SOREX_OK;
}

enum sorex_status listen_check(const struct listen_rules *rules, const char *address, struct sorex_error *err)
{
    char host[HOST_SIZE];
    const char *port;
    struct sockaddr_un path;
    return address[0] == '/' ? path_read(rules, address, &path, err) : address_split(rules, address, host, &port, err);
}

/* ---- sockets ---- */

static bool is_loopback(const struct sockaddr *at)
{
    if (at->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)at)->sin_addr.s_addr) >> 24 == 127;
    return at->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr);
}

static enum sorex_status socket_listen(const struct listen_rules *rules, const char *address, const struct sockaddr *at,
                                       socklen_t len, int *out, struct sorex_error *err)
{
    int yes = 1, code = 0;
    int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 || bind(fd, at, len) != 0 ||
        listen(fd, BACKLOG) != 0)
        code = errno;
    if (code != 0 && fd >= 0)
        (void)close(fd);
    if (code != 0)
        return sorex_error_set_errno(err, SOREX_IO, code, "%s: listen at %s", rules->what, address);
    *out = fd;
    return SOREX_OK;
}

/* Where it listens, when the kernel chose the port too. */
static void place_read(struct listening *listening)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "?";
    if (getsockname(listening->fd, (struct sockaddr *)&at, &len) != 0)
        return;
    bool six = at.ss_family == AF_INET6;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&at;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&at;
    (void)inet_ntop(at.ss_family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host, sizeof host);
    listening->port = ntohs(six ? in6->sin6_port : in->sin_port);
    (void)snprintf(listening->place, sizeof listening->place, six ? "[%s]:%u" : "%s:%u", host, listening->port);
}

static enum sorex_status tcp_open(const struct listen_rules *rules, const char *address, struct listening *out,
                                  struct sorex_error *err)
{
    char host[HOST_SIZE];
    const char *port;
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    enum sorex_status status;
    TRY(address_split(rules, address, host, &port, err));
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        return sorex_error_set(err, SOREX_INVALID, "%s: %s: %s", rules->what, address, gai_strerror(code));
    if (rules->open != NULL && !is_loopback(found->ai_addr))
        status = sorex_error_set(
            err, SOREX_INVALID,
            "%s: other machines reach %s, and nobody is asked for a password; %s listens there nevertheless",
            rules->what, address, rules->open);
    else
        status = socket_listen(rules, address, found->ai_addr, found->ai_addrlen, &out->fd, err);
    freeaddrinfo(found);
    if (status == SOREX_OK)
        place_read(out);
    return status;
}

/* Nobody answers there any more. */
static bool path_stale(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool stale = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        (void)close(fd);
    return stale;
}

static enum sorex_status path_open(const struct listen_rules *rules, const char *path, struct listening *out,
                                   struct sorex_error *err)
{
    struct sockaddr_un at;
    TRY(path_read(rules, path, &at, err));
    if (path_stale(&at))
        (void)unlink(path);
    mode_t before = umask(0177);
    enum sorex_status status = socket_listen(rules, path, (const struct sockaddr *)&at, sizeof at, &out->fd, err);
    (void)umask(before);
    if (status == SOREX_OK)
        (void)snprintf(out->place, sizeof out->place, "%s", path);
    return status;
}

enum sorex_status listen_open(const struct listen_rules *rules, const char *address, struct listening *out,
                              struct sorex_error *err)
{
    *out = (struct listening){.fd = -1};
    return address[0] == '/' ? path_open(rules, address, out, err) : tcp_open(rules, address, out, err);
}

void listen_close(struct listening *listening)
{
    (void)close(listening->fd);
    if (listening->port == 0)
        (void)unlink(listening->place);
    listening->fd = -1;
}
