/* The server's side of a PostgreSQL connection: what it answers, what it refuses, what reaches the session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/limits.h"
#include "serve/wire_startup.h"

#define BYTES(literal) bytes_of(literal, sizeof(literal) - 1)

/* A session that writes down what it was given and answers each exchange with one byte. */
struct fake {
    struct buf said; /* user, database, height, options, settings of open */
    struct buf got;
    uint32_t cancelled;
    size_t exchanges;
    int opened, closed;
    enum sorex_status open_status, exchange_status;
};

static struct fake fake;
static struct wire wire;
static struct buf out;
static struct sorex_error err;

#define OK(call)                      \
    do {                              \
        if ((call) != SOREX_OK)       \
            fail_msg("%s", err.text); \
    } while (0)

static enum sorex_status fake_open(void *user_data, const struct wire_startup *startup, void **out_session,
                                   struct buf *answer, struct sorex_error *error)
{
    struct fake *f = user_data;
    if (f->open_status != SOREX_OK)
        return sorex_error_set(error, f->open_status, "database \"%.*s\" does not exist", BYTES_FMT(startup->database));
    OK(buf_printf(&f->said, &err, "%.*s %.*s %d '%.*s'", BYTES_FMT(startup->user), BYTES_FMT(startup->database),
                  startup->height == SOREX_HEIGHT_NONE ? -1 : (int)startup->height, BYTES_FMT(startup->options)));
    for (size_t i = 0; i < startup->settings_count; i++)
        OK(buf_printf(&f->said, &err, " %.*s=%.*s", BYTES_FMT(startup->settings[i].name),
                      BYTES_FMT(startup->settings[i].value)));
    f->opened++;
    *out_session = f;
    return buf_append_str(answer, "<ready>", error);
}

/* An X ends it. */
static enum sorex_status fake_converse(void *session, struct bytes bytes, struct buf *answer, bool *out_ended,
                                       struct sorex_error *error)
{
    struct fake *f = session;
    f->exchanges++;
    OK(buf_append(&f->got, bytes, &err));
    if (f->exchange_status != SOREX_OK)
        return sorex_error_set(error, f->exchange_status, "it broke");
    *out_ended = memchr(bytes.data, 'X', bytes.len) != NULL;
    return buf_append_str(answer, "!", error);
}

static void fake_close(void *session) { ((struct fake *)session)->closed++; }

static void fake_cancel(void *user_data, uint32_t process, struct bytes secret)
{
    ((struct fake *)user_data)->cancelled = process + (uint32_t)secret.len;
}

static const struct wire_backend backend = {&fake, fake_open, fake_converse, fake_close, fake_cancel};

static int begin(void **unused)
{
    (void)unused;
    wire_init(&wire, &backend);
    return 0;
}

static int end(void **unused)
{
    (void)unused;
    wire_deinit(&wire);
    int leaked = fake.opened != fake.closed;
    buf_deinit(&fake.said);
    buf_deinit(&fake.got);
    buf_deinit(&out);
    fake = (struct fake){0};
    return leaked;
}

static void feed(struct bytes bytes) { OK(wire_feed(&wire, bytes, &out, &err)); }

static void startup(struct bytes parameters, uint32_t version)
{
    uint8_t head[8];
    u32be_put(head, (uint32_t)parameters.len + 8);
    u32be_put(head + 4, version);
    feed(bytes_of(head, 8));
    feed(parameters);
}

static void answered(struct bytes wanted)
{
    if (!bytes_equal(buf_view(&out), wanted)) {
        struct buf hex = {0};
        OK(buf_append_hex(&hex, buf_view(&out), &err));
        fail_msg("answered %.*s", BYTES_FMT(buf_view(&hex)));
    }
    buf_reset(&out);
}

/* An error that ends the connection, after `before`. */
static void refused(struct bytes before, const char *sqlstate, const char *text)
{
    struct protocol_message message;
    bool whole;
    assert_true(out.len > before.len && memcmp(out.data, before.data, before.len) == 0);
    struct bytes rest = bytes_of(out.data + before.len, out.len - before.len);
    OK(protocol_take(&rest, &message, &whole, &err));
    assert_true(whole && rest.len == 0 && message.type == PROTOCOL_ERROR);
    assert_true(bytes_is(message.notice.fields[PROTOCOL_FIELD_SEVERITY_ENGLISH], "FATAL"));
    struct bytes state = message.notice.fields[PROTOCOL_FIELD_SQLSTATE];
    struct bytes said = message.notice.fields[PROTOCOL_FIELD_MESSAGE];
    if (!bytes_is(state, sqlstate) || memmem(said.data, said.len, text, strlen(text)) == NULL)
        fail_msg("%.*s: %.*s", BYTES_FMT(state), BYTES_FMT(said));
    assert_int_equal(wire.state, WIRE_CLOSED);
    buf_reset(&out);
}

#define AUTHENTICATED "R\0\0\0\x8\0\0\0\0"
#define NOTHING bytes_of("", 0)

static void opened(struct bytes parameters, const char *said)
{
    startup(parameters, PROTOCOL_VERSION_3_0);
    answered(BYTES(AUTHENTICATED "<ready>"));
    if (!bytes_is(buf_view(&fake.said), said))
        fail_msg("'%.*s'", BYTES_FMT(buf_view(&fake.said)));
    wire_deinit(&wire);
    buf_reset(&fake.said);
    wire_init(&wire, &backend);
}

static void test_startup(void **unused)
{
    (void)unused;
    opened(BYTES("user\0u\0\0"), "u u -1 ''");
    opened(BYTES("user\0u\0database\0d\0application_name\0psql\0client_encoding\0UTF8\0\0"),
           "u d -1 '' application_name=psql client_encoding=UTF8");
    opened(BYTES("user\0u\0database\0d@840000\0\0"), "u d 840000 ''");
    opened(BYTES("user\0u\0database\0a@b\0\0"), "u a@b -1 ''");
    opened(BYTES("user\0u\0database\0a@7@8\0\0"), "u a@7 8 ''");
    opened(BYTES("user\0u\0database\0d@\0\0"), "u d@ -1 ''");
    opened(BYTES("user\0u\0database\0d@4294967295\0\0"), "u d@4294967295 -1 ''"); /* no height */
    opened(BYTES("user\0u\0options\0-c sorex.height=12\0\0"), "u u 12 '-c sorex.height=12'");
    opened(BYTES("user\0u\0options\0 -c geqo=off  --sorex.height=0 -csorex.height=0\0\0"),
           "u u 0 ' -c geqo=off  --sorex.height=0 -csorex.height=0'");
    opened(BYTES("user\0u\0database\0d@5\0options\0-c sorex.height=5\0replication\0false\0\0"),
           "u d 5 '-c sorex.height=5' replication=false");
}

static void startup_refused(struct bytes parameters, uint32_t version, const char *sqlstate, const char *text)
{
    startup(parameters, version);
    refused(NOTHING, sqlstate, text);
    feed(BYTES("ignored")); /* and nothing more is said */
    answered(NOTHING);
    wire_deinit(&wire);
    wire_init(&wire, &backend);
}

static void test_startup_refused(void **unused)
{
    (void)unused;
    startup_refused(BYTES("user\0u\0\0"), 0x00020000, "0A000", "unsupported frontend protocol 2.0");
    startup_refused(BYTES("database\0d\0\0"), PROTOCOL_VERSION_3_0, "28000", "no PostgreSQL user name");
    startup_refused(BYTES("user\0u\0"), PROTOCOL_VERSION_3_0, "08P01", "terminator");
    startup_refused(BYTES("user\0u\0\0x"), PROTOCOL_VERSION_3_0, "08P01", "terminator");
    startup_refused(BYTES("user\0u"), PROTOCOL_VERSION_3_0, "08P01", "without a value");
    startup_refused(BYTES(""), PROTOCOL_VERSION_3_0, "08P01", "terminator");
    startup_refused(BYTES("user\0u\0replication\0database\0\0"), PROTOCOL_VERSION_3_0, "0A000", "replication");
    startup_refused(BYTES("user\0u\0options\0-c sorex.height=x\0\0"), PROTOCOL_VERSION_3_0, "22023", "sorex.height");
    startup_refused(BYTES("user\0u\0database\0d@1\0options\0-c sorex.height=2\0\0"), PROTOCOL_VERSION_3_0, "22023",
                    "sorex.height");
    struct buf many = {0};
    OK(buf_append(&many, BYTES("user\0u\0"), &err));
    for (size_t i = 0; i <= WIRE_SETTINGS_MAX; i++)
        OK(buf_append(&many, BYTES("a\0b\0"), &err));
    OK(buf_append_u8(&many, 0, &err));
    startup_refused(buf_view(&many), PROTOCOL_VERSION_3_0, "54000", "too many settings");
    buf_deinit(&many);
    fake.open_status = SOREX_GONE;
    startup_refused(BYTES("user\0u\0database\0d\0\0"), PROTOCOL_VERSION_3_0, "3D000", "database \"d\" does not exist");
    feed(BYTES("\0\0\x27\x11")); /* 10,001 bytes */
    refused(NOTHING, "08P01", "invalid length");
    assert_int_equal(fake.opened, 0);
}

/* "name=value" of each, '/' between them; or what is wrong. */
static void options_are(const char *text, const char *wanted)
{
    struct bytes rest = bytes_str(text);
    struct buf word = {0}, said = {0};
    struct protocol_setting setting;
    for (bool found = true; found;) {
        if (startup_option_next(&rest, &word, &setting, &found, &err) != SOREX_OK) {
            OK(buf_append_str(&said, err.text, NULL));
            break;
        }
        if (found)
            OK(buf_printf(&said, &err, "%.*s=%.*s/", BYTES_FMT(setting.name), BYTES_FMT(setting.value)));
    }
    if (!bytes_is(buf_view(&said), wanted))
        fail_msg("'%.*s'", BYTES_FMT(buf_view(&said)));
    buf_deinit(&word);
    buf_deinit(&said);
}

static void test_options(void **unused)
{
    (void)unused;
    options_are("", "");
    options_are("  ", "");
    options_are("-c a=1 -cb=2  --c-d=3 ", "a=1/b=2/c_d=3/");
    options_are("-c a=b\\ c\\\\d -c x=", "a=b c\\d/x=/");
    options_are("-c a=b=c\\", "a=b=c\\/");
    options_are("-c", "-c  requires a value");
    options_are("-c a", "-c a requires a value");
    options_are("--a", "a requires a value");
    options_are("-d 5", "invalid command-line argument for server process: -d");
}

static void test_before(void **unused)
{
    (void)unused;
    feed(BYTES("\0\0\0\x8\4\xd2\x16\x30"));
    answered(BYTES("N"));
    feed(BYTES("\0\0\0\x8\4\xd2\x16\x2f"));
    answered(BYTES("N"));
    startup(BYTES("user\0u\0_pq_.a\0x\0_pq_.b\0y\0\0"), 0x00030063);
    answered(BYTES("v\0\0\0\x1a\0\3\0\2\0\0\0\2_pq_.a\0_pq_.b\0" AUTHENTICATED "<ready>"));
}

static void test_ssl_twice(void **unused)
{
    (void)unused;
    feed(BYTES("\0\0\0\x8\4\xd2\x16\x2f\0\0\0\x8\4\xd2\x16\x2f"));
    refused(BYTES("N"), "0A000", "unsupported frontend protocol 1234.5679");
}

static void test_cancel(void **unused)
{
    (void)unused;
    feed(BYTES("\0\0\0\x10\4\xd2\x16\x2e\0\0\0\x2a\1\2\3\4"));
    answered(NOTHING);
    assert_int_equal(fake.cancelled, 46);
    assert_int_equal(wire.state, WIRE_CLOSED);
}

static void open_session(void)
{
    startup(BYTES("user\0u\0\0"), PROTOCOL_VERSION_3_2);
    answered(BYTES(AUTHENTICATED "<ready>"));
}

#define QUERY "Q\0\0\0\x6x\0"

/* All of it is the session's, in the pieces in which it came. */
static void test_session(void **unused)
{
    (void)unused;
    open_session();
    feed(BYTES(QUERY "?\0\0"));
    answered(BYTES("!"));
    feed(BYTES("\xff"));
    feed(NOTHING);
    answered(BYTES("!"));
    assert_int_equal(fake.exchanges, 2);
    feed(BYTES("X..."));
    answered(BYTES("!"));
    assert_int_equal(wire.state, WIRE_CLOSED);
    assert_int_equal(fake.closed, 1);
    feed(BYTES(QUERY));
    answered(NOTHING);
    assert_true(bytes_equal(buf_view(&fake.got), BYTES(QUERY "?\0\0\xffX...")));
}

/* A client need not wait for the answer to its startup. */
static void test_at_once(void **unused)
{
    (void)unused;
    static const char all[] = "\0\0\0\x8\4\xd2\x16\x2f\0\0\0\x10\0\3\0\0user\0u\0\0" QUERY;
    for (size_t piece = 1; piece < sizeof all; piece++) {
        for (size_t at = 0; at < sizeof all - 1; at += piece)
            feed(bytes_of(all + at, sizeof all - 1 - at < piece ? sizeof all - 1 - at : piece));
        assert_true(out.len > 16 && memcmp(out.data, BYTES("N" AUTHENTICATED "<ready>!").data, 18) == 0);
        assert_true(bytes_equal(buf_view(&fake.got), BYTES(QUERY)));
        wire_deinit(&wire);
        wire_init(&wire, &backend);
        buf_reset(&fake.got);
        buf_reset(&out);
    }
}

static void test_broken_session(void **unused)
{
    (void)unused;
    open_session();
    fake.exchange_status = SOREX_GUEST;
    feed(BYTES(QUERY QUERY));
    refused(NOTHING, "XX000", "it broke");
    assert_int_equal(fake.closed, 1);
}

static void test_refused_from_outside(void **unused)
{
    (void)unused;
    static const struct {
        enum sorex_status status;
        bool open;
        const char *sqlstate;
    } cases[] = {{SOREX_STOPPED, true, "57P01"}, {SOREX_STOPPED, false, "57P01"}, {SOREX_LIMIT, false, "53300"},
                 {SOREX_LIMIT, true, "54000"},   {SOREX_NOMEM, true, "53200"},    {SOREX_INVALID, false, "22023"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sorex_error why = {0};
        (void)sorex_error_set(&why, cases[i].status, "no more");
        if (cases[i].open)
            open_session();
        OK(wire_refuse(&wire, &why, &out, &err));
        refused(NOTHING, cases[i].sqlstate, "no more");
        wire_init(&wire, &backend);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_startup),        TEST(test_startup_refused),
        TEST(test_options),        TEST(test_before),
        TEST(test_ssl_twice),      TEST(test_cancel),
        TEST(test_session),        TEST(test_at_once),
        TEST(test_broken_session), TEST(test_refused_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
