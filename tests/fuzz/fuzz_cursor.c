/* libFuzzer: the file sink beside a cursor file of any content: it says where it is, inside the data file, or refuses
 * with a text; what was accepted is accepted again. The first byte, when odd: the rest is the text in front of the
 * check, which is put behind it, so that the fields are reached; else the file as it is. Each is read by the sink of a chain and by
 * that of a stream with dead letters. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/sha256.h"
#include "sink/file.h"

#define LINES "{}\n{}\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory where there is such a place: thousands of files a second. */
static char folder[64];
static char path[80], cursor_path[96], dead_path[96];

static void folder_drop(void)
{
    (void)unlink(path);
    (void)unlink(cursor_path);
    (void)unlink(dead_path);
    (void)rmdir(folder);
}

static void folder_make(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(folder, sizeof folder, "%s/sorex-fuzz-XXXXXX", parent);
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/changes.jsonl", folder);
    (void)snprintf(cursor_path, sizeof cursor_path, "%s.cursor", path);
    (void)snprintf(dead_path, sizeof dead_path, "%s.dead", path);
    CHECK(atexit(folder_drop) == 0);
}

/* Appends what a cursor file ends with. */
static void check_append(struct buf *text)
{
    uint8_t check[SHA256_BYTES];
    sha256_once(buf_view(text), check);
    CHECK(buf_append_str(text, ",\"check\":\"", NULL) == SOREX_OK);
    CHECK(buf_append_hex(text, bytes_of(check, 8), NULL) == SOREX_OK);
    CHECK(buf_append_str(text, "\"}\n", NULL) == SOREX_OK);
}

static enum sorex_status cursor_ask(struct sink_cursor *out)
{
    struct file_settings settings = {.path = path, .append = true, .fsync = false};
    struct sink_context context = {.name = "file", .pipeline = "p", .base_dir = folder};
    struct sorex_error err = {0};
    struct sink *sink = NULL;
    CHECK(sink_file.open(&settings, &context, &sink, &err) == SOREX_OK);
    enum sorex_status status = sink_file.cursor(sink, out, &err);
    CHECK(status == SOREX_OK || (err.status == status && err.text[0] != '\0'));
    sink_file.close(sink);
    return status;
}

/* The position of "-". */
static enum sorex_status position_ask(struct position *out)
{
    struct file_settings settings = {.path = path, .append = true, .fsync = false, .dead_letters = dead_path};
    struct sink_context context = {.name = "file", .pipeline = "p", .base_dir = folder, .stream = true};
    struct sorex_error err = {0};
    struct sink *sink = NULL;
    CHECK(sink_file.open(&settings, &context, &sink, &err) == SOREX_OK);
    enum sorex_status status = sink_file.position(sink, "-", NULL, out, &err);
    CHECK(status == SOREX_OK || (err.status == status && err.text[0] != '\0'));
    sink_file.close(sink);
    return status;
}

static void content_set(const char *name, struct bytes content)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, content.data, content.len) == (ssize_t)content.len && close(fd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf text = {0};
    struct sink_cursor cursor = {0}, again = {0};
    if (size < 1)
        return 0;
    if (path[0] == '\0')
        folder_make();
    CHECK(buf_append(&text, bytes_of(data + 1, size - 1), NULL) == SOREX_OK);
    if ((data[0] & 1) != 0)
        check_append(&text);
    content_set(path, bytes_str(LINES));
    content_set(cursor_path, buf_view(&text));
    enum sorex_status status = cursor_ask(&cursor);
    struct position position, once_more;
    if (position_ask(&position) == SOREX_OK)
        CHECK(position_ask(&once_more) == SOREX_OK && position_equal(&position, &once_more));
    content_set(path, bytes_str(LINES));
    content_set(cursor_path, buf_view(&text));
    if (status == SOREX_OK)
        CHECK(cursor_ask(&again) == SOREX_OK && memcmp(&cursor, &again, sizeof cursor) == 0);
    buf_deinit(&text);
    return 0;
}
