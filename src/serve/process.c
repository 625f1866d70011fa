/* Over proc(5). */
#include "serve/process.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"

#define PROC_TEXT_MAX ((size_t)1 << 20) /* /proc/stat has a line for each processor, and one for all interrupts */

/* Fields of /proc/self/stat; the first two, of which the second is the program's name and may hold anything, end with a
 * bracket. */
enum {
    STAT_UTIME = 14,
    STAT_STIME = 15,
    STAT_THREADS = 20,
    STAT_START = 22,
    STAT_VIRTUAL = 23,
    STAT_RESIDENT = 24,
    STAT_FIELDS
};

static enum sorex_status text_read(const char *path, struct buf *out, struct sorex_error *err)
{
    buf_reset(out);
    TRY(file_read(path, PROC_TEXT_MAX, out, err));
    return buf_append_u8(out, '\0', err);
}

static enum sorex_status stat_read(struct buf *text, struct process_figures *out, uint64_t *out_start_ticks,
                                   struct sorex_error *err)
{
    uint64_t fields[STAT_FIELDS] = {0}, ticks = (uint64_t)sysconf(_SC_CLK_TCK);
    TRY(text_read("/proc/self/stat", text, err));
    char *at = strrchr((char *)text->data, ')');
    if (at == NULL)
        return sorex_error_set(err, SOREX_IO, "/proc/self/stat does not read as expected");
    for (size_t field = 3; field < STAT_FIELDS; field++) {
        at += strcspn(at, " ");
        at += strspn(at, " ");
        fields[field] = strtoull(at, NULL, 10); /* the third is a letter: 0 */
    }
    out->cpu_ms = (fields[STAT_UTIME] + fields[STAT_STIME]) * 1000 / ticks;
    out->threads = fields[STAT_THREADS];
    out->virtual_bytes = fields[STAT_VIRTUAL];
    out->resident_bytes = fields[STAT_RESIDENT] * (uint64_t)sysconf(_SC_PAGESIZE);
    *out_start_ticks = fields[STAT_START];
    return SOREX_OK;
}

/* Ticks count from the machine's start. */
static enum sorex_status start_read(struct buf *text, uint64_t start_ticks, struct process_figures *out,
                                    struct sorex_error *err)
{
    TRY(text_read("/proc/stat", text, err));
    const char *boot = strstr((char *)text->data, "\nbtime ");
    if (boot == NULL)
        return sorex_error_set(err, SOREX_IO, "/proc/stat has no btime");
    out->start_ms =
        strtoull(boot + strlen("\nbtime "), NULL, 10) * 1000 + start_ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
    return SOREX_OK;
}

static enum sorex_status fds_count(struct process_figures *out, struct sorex_error *err)
{
    struct rlimit limit = {0};
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open /proc/self/fd");
    out->open_fds = 0;
    for (const struct dirent *item; (item = readdir(dir)) != NULL;)
        out->open_fds += item->d_name[0] != '.';
    out->open_fds--; /* the directory's own */
    closedir(dir);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    out->max_fds = limit.rlim_cur;
    return SOREX_OK;
}

enum sorex_status process_figures_get(struct process_figures *out, struct sorex_error *err)
{
    struct buf text = {0};
    uint64_t start_ticks = 0;
    enum sorex_status status = stat_read(&text, out, &start_ticks, err);
    if (status == SOREX_OK)
        status = start_read(&text, start_ticks, out, err);
    if (status == SOREX_OK)
        status = fds_count(out, err);
    buf_deinit(&text);
    return status;
}
