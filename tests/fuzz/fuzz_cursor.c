/* libFuzzer: the file sink beside a cursor file of any content: it says where it is, inside the data file, or refuses
 * with a text. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "sink/file.h"

#define LINES "{}\n{}\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/sorex-fuzz-XXXXXX";
static char path[64], cursor_path[80];

static void folder_drop(void)
{
    (void)unlink(path);
    (void)unlink(cursor_path);
    (void)rmdir(folder);
}

static void folder_make(void)
{
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/changes.jsonl", folder);
    (void)snprintf(cursor_path, sizeof cursor_path, "%s.cursor", path);
    CHECK(atexit(folder_drop) == 0);
}

static void content_set(const char *name, struct bytes content)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, content.data, content.len) == (ssize_t)content.len && close(fd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (path[0] == '\0')
        folder_make();
    content_set(path, bytes_str(LINES));
    content_set(cursor_path, bytes_of(data, size));
    struct file_settings settings = {.path = path, .append = true, .fsync = false};
    struct sink_context context = {.name = "file", .pipeline = "p", .base_dir = folder};
    struct sorex_error err = {0};
    struct sink *sink = NULL;
    struct sink_cursor cursor;
    CHECK(sink_file.open(&settings, &context, &sink, &err) == SOREX_OK);
    enum sorex_status status = sink_file.cursor(sink, &cursor, &err);
    CHECK(status == SOREX_OK || err.text[0] != '\0');
    sink_file.close(sink);
    return 0;
}
