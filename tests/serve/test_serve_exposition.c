/* The text that Prometheus reads, as a whole: what a status gives, to the byte; and a strict reader of the format over
 * all of it. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "json/double.h"
#include "serve/exposition.h"

#define PROCESS "# HELP process_cpu_seconds_total "

static void exposition_of(const char *status, struct buf *out)
{
    struct sorex_error err = {0};
    buf_reset(out);
    if (exposition_write(bytes_str(status), out, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_int_equal(buf_append_u8(out, '\0', NULL), SOREX_OK);
    out->len--;
}

/* What comes before the figures of the process, which are never the same. */
static void assert_exposition(const char *status, const char *expected)
{
    struct buf out = {0};
    exposition_of(status, &out);
    char *process = strstr((char *)out.data, PROCESS);
    assert_non_null(process);
    *process = '\0';
    assert_string_equal((char *)out.data, expected);
    buf_deinit(&out);
}

#define BUILD_INFO                                                             \
    "# HELP sorex_build_info The program's version.\n# TYPE sorex_build_info " \
    "gauge\nsorex_build_info{version=\"0.1.0\"} 1\n"

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    assert_exposition("{}", BUILD_INFO);
    assert_exposition(
        "{\"pipeline\":\"p\",\"heights\":{\"tip\":null},\"sinks\":[],\"filters\":[{\"name\":\"f\",\"metrics\":{}}]}",
        BUILD_INFO);
    assert_exposition(
        "{\"pipeline\":\"p\",\"heights\":7,\"sinks\":{\"a\":1},\"filters\":\"none\",\"entries\":\"many\",\"state\":1}",
        BUILD_INFO);
}

static void each_shape(void **state)
{
    (void)state;
    assert_exposition(
        "{\"pipeline\":\"p\",\"state\":\"waiting\",\"heights\":{\"tip\":812},\"guest_ns\":1234567890123,\"wait_ns\":5,"
        "\"filters\":[{\"name\":\"a\",\"events\":3,\"metrics\":{\"hits\":-7,\"odd\":\"x\",\"misses\":0}},"
        "{\"name\":\"a\",\"events\":2,\"metrics\":{\"hits\":9223372036854775807}}],"
        "\"reducer\":{\"name\":\"r\",\"state\":\"failed\",\"height\":null,\"messages\":9,\"rejected\":2,\"undone\":1},"
        "\"sinks\":[{\"name\":\"pg\",\"state\":\"retrying\",\"retry_in_ms\":1250},{\"name\":\"file\",\"state\":"
        "\"idle\",\"retry_in_ms\":0}]}",
        BUILD_INFO "# HELP sorex_pipeline_state What the pipeline does.\n"
                   "# TYPE sorex_pipeline_state gauge\n"
                   "sorex_pipeline_state{pipeline=\"p\",state=\"waiting\"} 1\n"
                   "# HELP sorex_tip_height Height of the newest entry.\n"
                   "# TYPE sorex_tip_height gauge\n"
                   "sorex_tip_height{pipeline=\"p\"} 812\n"
                   "# HELP sorex_guest_seconds_total Time in guests.\n"
                   "# TYPE sorex_guest_seconds_total counter\n"
                   "sorex_guest_seconds_total{pipeline=\"p\"} 1234.567890123\n"
                   "# HELP sorex_source_wait_seconds_total Time that the source was waited for.\n"
                   "# TYPE sorex_source_wait_seconds_total counter\n"
                   "sorex_source_wait_seconds_total{pipeline=\"p\"} 0.000000005\n"
                   "# HELP sorex_filter_events_total Events given to the filter since the start.\n"
                   "# TYPE sorex_filter_events_total counter\n"
                   "sorex_filter_events_total{pipeline=\"p\",filter=\"a\",stage=\"1\"} 3\n"
                   "sorex_filter_events_total{pipeline=\"p\",filter=\"a\",stage=\"2\"} 2\n"
                   "# HELP sorex_filter_metric What the filter's module records.\n"
                   "# TYPE sorex_filter_metric gauge\n"
                   "sorex_filter_metric{pipeline=\"p\",filter=\"a\",stage=\"1\",name=\"hits\"} -7\n"
                   "sorex_filter_metric{pipeline=\"p\",filter=\"a\",stage=\"1\",name=\"misses\"} 0\n"
                   "sorex_filter_metric{pipeline=\"p\",filter=\"a\",stage=\"2\",name=\"hits\"} 9223372036854775807\n"
                   "# HELP sorex_reducer_state What the reducer does.\n"
                   "# TYPE sorex_reducer_state gauge\n"
                   "sorex_reducer_state{pipeline=\"p\",state=\"failed\"} 1\n"
                   "# HELP sorex_reducer_messages Messages that its database stands for.\n"
                   "# TYPE sorex_reducer_messages gauge\n"
                   "sorex_reducer_messages{pipeline=\"p\"} 9\n"
                   "# HELP sorex_reducer_rejected Messages among them that were rejected.\n"
                   "# TYPE sorex_reducer_rejected gauge\n"
                   "sorex_reducer_rejected{pipeline=\"p\"} 2\n"
                   "# HELP sorex_reducer_undone_total How often it went back since the start.\n"
                   "# TYPE sorex_reducer_undone_total counter\n"
                   "sorex_reducer_undone_total{pipeline=\"p\"} 1\n"
                   "# HELP sorex_sink_state What the sink does.\n"
                   "# TYPE sorex_sink_state gauge\n"
                   "sorex_sink_state{pipeline=\"p\",sink=\"pg\",state=\"retrying\"} 1\n"
                   "sorex_sink_state{pipeline=\"p\",sink=\"file\",state=\"idle\"} 1\n"
                   "# HELP sorex_sink_retry_in_seconds Time until the next attempt.\n"
                   "# TYPE sorex_sink_retry_in_seconds gauge\n"
                   "sorex_sink_retry_in_seconds{pipeline=\"p\",sink=\"pg\"} 1.250\n"
                   "sorex_sink_retry_in_seconds{pipeline=\"p\",sink=\"file\"} 0.000\n");
}

static void names_are_escaped(void **state)
{
    (void)state;
    assert_exposition("{\"pipeline\":\"a\\\"b\\\\c\\nd\xc3\xa9\",\"state\":\"s\"}",
                      BUILD_INFO "# HELP sorex_pipeline_state What the pipeline does.\n"
                                 "# TYPE sorex_pipeline_state gauge\n"
                                 "sorex_pipeline_state{pipeline=\"a\\\"b\\\\c\\nd\xc3\xa9\",state=\"s\"} 1\n");
}

static void what_is_no_status_is_refused(void **state)
{
    struct buf out = {0};
    struct sorex_error err = {0};
    (void)state;
    assert_int_equal(exposition_write(bytes_str("{"), &out, &err), SOREX_INVALID);
    assert_int_equal(exposition_write(bytes_str("[]"), &out, &err), SOREX_INVALID);
    buf_deinit(&out);
}

/* ---- a strict reader of the format ---- */

struct reader {
    const char *at;
    char family[64], type[16];
    char families[4096]; /* "|a|b|": each comes once */
    char samples[65536]; /* "|name{labels}|": so does each sample */
    size_t count;
};

static void expect(struct reader *reader, const char *text)
{
    size_t len = strlen(text);
    if (strncmp(reader->at, text, len) != 0)
        fail_msg("expected \"%s\" at \"%.60s\"", text, reader->at);
    reader->at += len;
}

static size_t name_length(const char *text, bool colon)
{
    size_t len = 0;
    while (isalpha((unsigned char)text[len]) || text[len] == '_' || (colon && text[len] == ':') ||
           (len > 0 && isdigit((unsigned char)text[len])))
        len++;
    return len;
}

static void once(char *seen, size_t size, const char *what, size_t len)
{
    char entry[1024];
    assert_true(len + 3 < sizeof entry);
    (void)snprintf(entry, sizeof entry, "|%.*s|", (int)len, what);
    if (strstr(seen, entry) != NULL)
        fail_msg("%s comes twice", entry);
    size_t used = strlen(seen);
    assert_true(used + len + 3 < size);
    (void)snprintf(seen + used, size - used, "%s", entry);
}

static void read_head(struct reader *reader)
{
    expect(reader, "# HELP ");
    size_t len = name_length(reader->at, true);
    assert_true(len > 0 && len < sizeof reader->family);
    (void)snprintf(reader->family, sizeof reader->family, "%.*s", (int)len, reader->at);
    once(reader->families, sizeof reader->families, reader->family, len);
    reader->at += len;
    expect(reader, " ");
    size_t help = strcspn(reader->at, "\n");
    assert_true(help > 0 && reader->at[help - 1] == '.');
    assert_null(memchr(reader->at, '\\', help));
    reader->at += help;
    expect(reader, "\n# TYPE ");
    expect(reader, reader->family);
    expect(reader, " ");
    len = strcspn(reader->at, "\n");
    (void)snprintf(reader->type, sizeof reader->type, "%.*s", (int)len, reader->at);
    bool counter = strcmp(reader->type, "counter") == 0;
    assert_true(counter || strcmp(reader->type, "gauge") == 0);
    size_t family = strlen(reader->family);
    assert_int_equal(counter, family > 6 && strcmp(reader->family + family - 6, "_total") == 0);
    reader->at += len;
    expect(reader, "\n");
}

static void read_labels(struct reader *reader)
{
    char names[256] = "";
    if (*reader->at != '{')
        return;
    do {
        reader->at++;
        size_t len = name_length(reader->at, false);
        assert_true(len > 0);
        once(names, sizeof names, reader->at, len);
        reader->at += len;
        expect(reader, "=\"");
        while (*reader->at != '"') {
            assert_true(*reader->at != '\n' && *reader->at != '\0');
            if (*reader->at == '\\')
                assert_non_null(strchr("\\\"n", *++reader->at));
            reader->at++;
        }
        reader->at++;
    } while (*reader->at == ',');
    expect(reader, "}");
}

static void read_sample(struct reader *reader)
{
    const char *begin = reader->at;
    double value;
    expect(reader, reader->family);
    read_labels(reader);
    once(reader->samples, sizeof reader->samples, begin, (size_t)(reader->at - begin));
    expect(reader, " ");
    size_t len = strcspn(reader->at, "\n");
    assert_true(double_read(bytes_of(reader->at, len), &value));
    assert_true(strcmp(reader->type, "counter") != 0 || value >= 0);
    reader->at += len;
    expect(reader, "\n");
    reader->count++;
}

static size_t read_all(const char *text)
{
    struct reader reader = {.at = text};
    while (*reader.at != '\0') {
        read_head(&reader);
        do
            read_sample(&reader);
        while (*reader.at != '\0' && *reader.at != '#');
    }
    return reader.count;
}

static void all_of_it_is_well_formed(void **state)
{
    struct buf out = {0};
    (void)state;
    exposition_of("{}", &out);
    assert_int_equal(read_all((char *)out.data), 8);
    exposition_of(
        "{\"pipeline\":\"p\\\\\\n\\\"\",\"state\":\"waiting\",\"waiting_for\":\"x\",\"entries\":1,\"undone\":2,"
        "\"changes\":3,\"fuel\":4,"
        "\"guest_ns\":5,\"commit_ns\":6,\"wait_ns\":7,\"entries_per_second\":1.5,\"eta_seconds\":8,"
        "\"heights\":{\"tip\":9,\"durable\":9,\"horizon\":0,\"first\":0,\"source\":10,\"lag\":1},"
        "\"outbox\":{\"first\":1,\"head\":2,\"waiting_bytes\":3},\"disk_bytes\":4,"
        "\"events\":{\"in\":1,\"out\":2,\"filtered\":3,\"failed\":4,\"bytes_in\":5,\"bytes_out\":6,\"batches\":7},"
        "\"partitions\":[{\"name\":\"t/0\",\"offset\":1,\"number\":2,\"behind\":3},{\"name\":\"t/"
        "1\",\"offset\":null,\"behind\":null}],"
        "\"filters\":[{\"name\":\"f\",\"events\":1,\"changed\":2,\"filtered\":3,\"failed\":4,\"instances_made\":5,"
        "\"instances_discarded\":6,\"metrics\":{\"a\":1,\"\\\"\\\\\":2}},{\"name\":\"f\",\"events\":1,\"metrics\":{"
        "\"a\":1}}],"
        "\"sinks\":[{\"name\":\"s\",\"type\":\"file\",\"state\":\"idle\",\"sequence\":1,\"behind\":2,\"height\":3,"
        "\"changes\":4,"
        "\"attempts\":5,\"retry_in_ms\":6,\"breaker\":\"closed\",\"why\":\"\"}]}",
        &out);
    assert_int_equal(read_all((char *)out.data), 51);
    buf_deinit(&out);
}

static void figures_of_the_process(void **state)
{
    struct buf out = {0};
    double value;
    (void)state;
    exposition_of("{}", &out);
    static const struct {
        const char *name;
        double least, most;
    } figures[] = {{"process_cpu_seconds_total", 0, 1e6},
                   {"process_start_time_seconds", 1.5e9, 1e11},
                   {"process_resident_memory_bytes", 1e5, 1e13},
                   {"process_virtual_memory_bytes", 1e6, 1e16},
                   {"process_threads", 1, 1e4},
                   {"process_open_fds", 3, 1e6},
                   {"process_max_fds", 3, 1e19}};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "\n%s ", figures[i].name);
        const char *at = strstr((char *)out.data, line);
        assert_non_null(at);
        at += strlen(line);
        assert_true(double_read(bytes_of(at, strcspn(at, "\n")), &value));
        if (value < figures[i].least || value > figures[i].most)
            fail_msg("%s %f", figures[i].name, value);
    }
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(each_shape),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(what_is_no_status_is_refused),
        cmocka_unit_test(all_of_it_is_well_formed),
        cmocka_unit_test(figures_of_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
