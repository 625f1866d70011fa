/* Compiled modules on disk.
 *
 * One file per module and settings, named by the key in hex with ".cwasm":
 *
 *   0   8  "SOREXWC1"
 *   8  32  key: SHA-256 of a line about Wasmtime and the settings (engine_describe), then the module
 *  40  32  SHA-256 of the content
 *  72      content, as Wasmtime serializes it
 *
 * The content is machine code that will run in this process, so the file is taken only from a directory and with a mode
 * that nobody else could have written to, and only whole. A file that is not that is compiled around and replaced.
 * Wasmtime checks for itself that version and settings fit. Writing is atomic by rename; without fsync, as a torn file
 * fails its hash. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/sha256.h"
#include "wasm/private.h"

#define MAGIC "SOREXWC1"
#define HEADER_BYTES (8 + 2 * SHA256_BYTES)
#define FILE_BYTES_MAX ((off_t)1 << 31)

static bool key_make(const struct wasm_engine *engine, struct bytes wasm, uint8_t out[SHA256_BYTES])
{
    struct buf line = {0};
    struct sha256 hash;
    bool ok = engine_describe(engine, &line, NULL) == SOREX_OK && sha256_init(&hash, NULL) == SOREX_OK;
    if (ok) {
        sha256_start(&hash);
        sha256_update(&hash, buf_view(&line));
        sha256_update(&hash, wasm);
        sha256_finish(&hash, out);
        sha256_deinit(&hash);
    }
    buf_deinit(&line);
    return ok;
}

static bool path_make(const char *dir, const uint8_t key[SHA256_BYTES], char out[PATH_MAX])
{
    char hex[HASH_HEX_SIZE];
    hash_hex(key, hex);
    return snprintf(out, PATH_MAX, "%s/%s.cwasm", dir, hex) < PATH_MAX;
}

/* Nobody but this user can have put something there. */
static bool dir_trusted(const char *dir)
{
    struct stat info;
    if (lstat(dir, &info) != 0)
        return false;
    bool ok = S_ISDIR(info.st_mode) && info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
    if (!ok)
        log_line(LOG_DEBUG, "wasm",
                 "cache %s is not used: it must be a directory of this user that others cannot write", dir);
    return ok;
}

static void errno_log(const char *path, int code, const char *what)
{
    struct sorex_error err;
    (void)sorex_error_set_errno(&err, SOREX_IO, code, "cache %s: %s", path, what);
    log_line(LOG_DEBUG, "wasm", "%s", err.text);
}

static bool file_take(const char *path, const uint8_t key[SHA256_BYTES], struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        if (errno != ENOENT)
            errno_log(path, errno, "open");
        return false;
    }
    struct stat info;
    const char *wrong = NULL;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid() ||
        (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        wrong = "not a file of this user alone";
    else if (info.st_size <= HEADER_BYTES || info.st_size > FILE_BYTES_MAX)
        wrong = "bad size";
    else if (buf_reserve(out, (size_t)info.st_size, NULL) != SOREX_OK)
        wrong = "out of memory";
    while (wrong == NULL && out->len < (size_t)info.st_size) {
        ssize_t n = read(fd, out->data + out->len, (size_t)info.st_size - out->len);
        if (n > 0)
            out->len += (size_t)n;
        else if (n == 0 || errno != EINTR)
            wrong = "short file";
    }
    (void)close(fd);
    uint8_t hash[SHA256_BYTES];
    if (wrong == NULL) {
        sha256_once(bytes_of(out->data + HEADER_BYTES, out->len - HEADER_BYTES), hash);
        if (memcmp(out->data, MAGIC, 8) != 0 || memcmp(out->data + 8, key, SHA256_BYTES) != 0 ||
            memcmp(out->data + 8 + SHA256_BYTES, hash, SHA256_BYTES) != 0)
            wrong = "damaged";
    }
    if (wrong != NULL)
        log_line(LOG_DEBUG, "wasm", "cache %s: %s, compiled again", path, wrong);
    return wrong == NULL;
}

bool cache_load(const char *dir, const struct wasm_engine *engine, struct bytes wasm, wasmtime_module_t **out)
{
    uint8_t key[SHA256_BYTES];
    char path[PATH_MAX];
    if (!dir_trusted(dir) || !key_make(engine, wasm, key) || !path_make(dir, key, path))
        return false;
    struct buf file = {0};
    bool ok = file_take(path, key, &file);
    if (ok) {
        wasmtime_error_t *error =
            wasmtime_module_deserialize(engine->engine, file.data + HEADER_BYTES, file.len - HEADER_BYTES, out);
        ok = error == NULL;
        if (!ok) {
            struct sorex_error err = {0};
            (void)trap_error_take(error, SOREX_MISMATCH, &err, "not for this engine");
            log_line(LOG_DEBUG, "wasm", "cache %s: %s, compiled again", path, err.text);
        }
    }
    buf_deinit(&file);
    return ok;
}

static bool file_put(const char *path, const uint8_t head[HEADER_BYTES], struct bytes content)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= (int)sizeof temporary)
        return false;
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return false;
    struct bytes parts[] = {bytes_of(head, HEADER_BYTES), content};
    bool ok = true;
    for (size_t i = 0; i < 2 && ok; i++)
        for (size_t done = 0; done < parts[i].len && ok;) {
            ssize_t n = write(fd, parts[i].data + done, parts[i].len - done);
            if (n > 0)
                done += (size_t)n;
            else
                ok = n < 0 && errno == EINTR;
        }
    if (close(fd) != 0)
        ok = false;
    if (ok && rename(temporary, path) == 0)
        return true;
    (void)unlink(temporary);
    return false;
}

void cache_save(const char *dir, const struct wasm_engine *engine, struct bytes wasm, const wasmtime_module_t *module)
{
    struct sorex_error err = {0};
    struct stat info;
    /* Only the last part is made with the private mode; parents as any other directory. */
    if (stat(dir, &info) != 0 && (file_mkdirs(dir, &err) != SOREX_OK || chmod(dir, 0700) != 0)) {
        log_line(LOG_DEBUG, "wasm", "cache %s: %s", dir, err.text);
        return;
    }
    uint8_t head[HEADER_BYTES];
    char path[PATH_MAX];
    memcpy(head, MAGIC, 8);
    if (!dir_trusted(dir) || !key_make(engine, wasm, head + 8) || !path_make(dir, head + 8, path))
        return;
    wasm_byte_vec_t content;
    wasmtime_error_t *error = wasmtime_module_serialize(module, &content);
    if (error != NULL) {
        (void)trap_error_take(error, SOREX_IO, &err, "serialize");
        log_line(LOG_DEBUG, "wasm", "cache %s: %s", path, err.text);
        return;
    }
    sha256_once(bytes_of(content.data, content.size), head + 8 + SHA256_BYTES);
    if (!file_put(path, head, bytes_of(content.data, content.size)))
        errno_log(path, errno, "write");
    wasm_byte_vec_delete(&content);
}
