/* libFuzzer: a control socket that answers a request with any bytes. The client ends, with output or an error. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "serve/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct answer {
    int listener;
    struct bytes bytes;
};

static char folder[] = "/tmp/sorex-fuzz-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void folder_drop(void)
{
    (void)unlink(address.sun_path);
    (void)rmdir(folder);
}

static int listener_make(void)
{
    CHECK(mkdtemp(folder) != NULL && atexit(folder_drop) == 0);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", folder);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0 &&
          listen(listener, 8) == 0);
    return listener;
}

static void *answer_thread(void *user_data)
{
    const struct answer *answer = user_data;
    char request[256];
    int fd = accept(answer->listener, NULL, NULL);
    CHECK(fd >= 0 && recv(fd, request, sizeof request, 0) > 0);
    for (size_t at = 0; at < answer->bytes.len;) {
        ssize_t sent = send(fd, answer->bytes.data + at, answer->bytes.len - at, MSG_NOSIGNAL);
        if (sent <= 0)
            break; /* the client has seen enough */
        at += (size_t)sent;
    }
    CHECK(close(fd) == 0);
    return NULL;
}

static enum sorex_status output(void *user_data, struct bytes text, struct sorex_error *err)
{
    (void)err;
    *(uint64_t *)user_data += text.len;
    return SOREX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int listener = -1;
    if (listener < 0)
        listener = listener_make();
    struct answer answer = {listener, bytes_of(data, size)};
    struct sorex_error err = {0};
    bool connected = false;
    uint64_t received = 0;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answer_thread, &answer) == 0);
    enum sorex_status status = control_ask(folder, bytes_str("{}"), output, &received, &connected, &err);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(connected && received <= size);
    CHECK(status == SOREX_OK || err.status == status);
    return 0;
}
