/* libFuzzer: the source "bitcoind" with a node that answers with any bytes. libcurl's transfers are replaced (the
 * linker wraps them), so that what is under test begins where bytes have arrived: HTTP status, JSON, results, batches,
 * hashes, blocks, a refused cookie.
 *
 * The input: a byte of settings, then the node's answers, which end at 0xff (no JSON and no text has that byte). The
 * first byte of an answer is its HTTP status, see statuses; the rest is the body. When all are used up, the node cannot
 * be reached. */
#include <curl/curl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "config/node.h"
#include "source/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the node ---- */

#define PIECE_BYTES 1000u /* a body arrives in pieces */

static const long statuses[] = {200, 500, 404, 401, 403, 503};

static struct {
    struct bytes answers;
    curl_write_callback write;
    void *write_data;
    long status;
} node;

CURLcode __wrap_curl_easy_perform(CURL *curl);
CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...);
CURLcode __wrap_curl_easy_getinfo(CURL *curl, CURLINFO info, ...);

CURLcode __wrap_curl_easy_setopt(CURL *curl, CURLoption option, ...)
{
    (void)curl;
    va_list arguments;
    va_start(arguments, option);
    if (option == CURLOPT_WRITEFUNCTION)
        node.write = va_arg(arguments, curl_write_callback);
    else if (option == CURLOPT_WRITEDATA)
        node.write_data = va_arg(arguments, void *);
    va_end(arguments);
    return CURLE_OK;
}

CURLcode __wrap_curl_easy_getinfo(CURL *curl, CURLINFO info, ...)
{
    (void)curl;
    CHECK(info == CURLINFO_RESPONSE_CODE);
    va_list arguments;
    va_start(arguments, info);
    *va_arg(arguments, long *) = node.status;
    va_end(arguments);
    return CURLE_OK;
}

static struct bytes answer_take(void)
{
    const uint8_t *end = node.answers.len == 0 ? NULL : memchr(node.answers.data, 0xff, node.answers.len);
    size_t len = end == NULL ? node.answers.len : (size_t)(end - node.answers.data);
    struct bytes answer = bytes_of(node.answers.data, len);
    size_t taken = end == NULL ? len : len + 1;
    node.answers = bytes_of(node.answers.data + taken, node.answers.len - taken);
    return answer;
}

CURLcode __wrap_curl_easy_perform(CURL *curl)
{
    (void)curl;
    struct bytes answer = answer_take();
    if (answer.len == 0)
        return CURLE_COULDNT_CONNECT;
    node.status = statuses[answer.data[0] % (sizeof statuses / sizeof *statuses)];
    char *body = malloc(answer.len); /* of exactly its size, and not constant: as libcurl hands it over */
    CHECK(body != NULL);
    memcpy(body, answer.data + 1, answer.len - 1);
    CURLcode code = CURLE_OK;
    for (size_t at = 0; at < answer.len - 1 && code == CURLE_OK;) {
        size_t len = answer.len - 1 - at < PIECE_BYTES ? answer.len - 1 - at : PIECE_BYTES;
        code = node.write(body + at, 1, len, node.write_data) == len ? CURLE_OK : CURLE_WRITE_ERROR;
        at += len;
    }
    free(body);
    return code;
}

/* ---- settings ---- */

static struct config_node *root_of(const char *yaml)
{
    struct config_node *root = NULL;
    CHECK(config_parse(bytes_str(yaml), "fuzz", &root, NULL) == SOREX_OK);
    return root;
}

/* By the first byte: bits 0 and 1 rest, bit 2 a cookie file. */
static struct source *source_make(uint8_t choice)
{
    static void *settings[8];
    static const char *const rest[] = {"auto", "on", "off", "auto"};
    choice %= 8;
    if (settings[choice] == NULL) {
        char yaml[256], cookie[64] = "";
        if ((choice & 4) != 0) {
            int fd = memfd_create("cookie", MFD_CLOEXEC); /* stays open: the path leads to it */
            CHECK(fd >= 0 && write(fd, "user:password\n", 14) == 14);
            (void)snprintf(cookie, sizeof cookie, "cookie_file: /proc/self/fd/%d\n", fd);
        }
        (void)snprintf(yaml, sizeof yaml, "url: http://127.0.0.1:8332\nrest: %s\n%s", rest[choice & 3], cookie);
        struct config_node *root = root_of(yaml);
        settings[choice] = calloc(1, source_bitcoind.settings_size);
        CHECK(settings[choice] != NULL);
        CHECK(options_read(source_bitcoind.options, root, "", "/", settings[choice], NULL) == SOREX_OK);
        config_free(root);
    }
    struct source *source;
    CHECK(source_bitcoind.open(settings[choice], &source, NULL) == SOREX_OK);
    return source;
}

/* ---- questions ---- */

static void outcome(enum sorex_status status, const struct sorex_error *err)
{
    CHECK(status == SOREX_OK || (err->status == status && err->text[0] != '\0'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct source *source = source_make(data[0]);
    node.answers = bytes_of(data + 1, size - 1);
    uint8_t hash[HASH_BYTES] = {0};
    uint32_t height = 0;
    struct sorex_error err = {0};
    struct buf block = {0};
    outcome(source_bitcoind.tip(source, &height, hash, &err), &err);
    for (uint32_t at = 3; at < 6; at++)
        outcome(source_bitcoind.hash_at(source, at, hash, &err), &err);
    enum sorex_status status = source_bitcoind.fetch(source, 3, hash, &block, &err);
    outcome(status, &err);
    CHECK(block.len <= size);
    buf_deinit(&block);
    source_bitcoind.close(source);
    return 0;
}
