/* libFuzzer: a control socket that answers a request with any bytes. The client ends, with output or an error, and asks
 * for no more memory than bytes come. The linker replaces what the client does with the socket, so that there is no
 * second thread; the bytes come in pieces of all sizes. */
#include <sys/socket.h>

#include "base/check.h"
#include "serve/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);

static struct bytes answer;

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    CHECK(fd >= 0 && address->sa_family == AF_UNIX && len > 0);
    return 0;
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    CHECK(fd >= 0 && data != NULL && (flags & MSG_NOSIGNAL) != 0);
    return (ssize_t)len;
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    CHECK(fd >= 0 && len > 0 && flags == 0);
    size_t piece = answer.len / 2 + 1; /* half of what is left, and then byte by byte */
    if (piece > len)
        piece = len;
    if (piece > answer.len)
        piece = answer.len;
    if (piece > 0)
        memcpy(data, answer.data, piece);
    answer = bytes_of(answer.data + piece, answer.len - piece);
    return (ssize_t)piece;
}

static enum sorex_status output(void *user_data, struct bytes text, struct sorex_error *err)
{
    (void)err;
    *(uint64_t *)user_data += text.len;
    return SOREX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sorex_error err = {0};
    bool connected = false;
    uint64_t received = 0;
    answer = bytes_of(data, size);
    enum sorex_status status = control_ask("/", bytes_str("{}"), output, &received, &connected, &err);
    CHECK(connected && received <= size);
    CHECK(status == SOREX_OK ? err.text[0] == '\0' : err.status == status && err.text[0] != '\0');
    CHECK(strcmp(sorex_status_name(status), "unknown") != 0);
    return 0;
}
