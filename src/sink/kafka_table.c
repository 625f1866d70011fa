/* The topic of a table: the template with {table} and {pipeline} filled in. */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "kafka/topic.h"
#include "sink/kafka_target.h"

static const char table_mark[] = "{table}";
static const char pipeline_mark[] = "{pipeline}";

static bool permitted(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

enum sorex_status kafka_template_check(const char *template, struct sorex_error *err)
{
    for (const char *at = template; *at != '\0';) {
        size_t mark = strncmp(at, table_mark, sizeof table_mark - 1) == 0         ? sizeof table_mark - 1
                      : strncmp(at, pipeline_mark, sizeof pipeline_mark - 1) == 0 ? sizeof pipeline_mark - 1
                                                                                  : 0;
        if (mark == 0 && !permitted((uint8_t)*at))
            return sorex_error_set(
                err, SOREX_INVALID,
                "topic \"%s\": names of topics have letters, digits, \".\", \"_\" and \"-\"; {table} and "
                "{pipeline} are filled in",
                template);
        at += mark == 0 ? 1 : mark;
    }
    return *template == '\0' ? sorex_error_set(err, SOREX_INVALID, "topic: empty") : SOREX_OK;
}

static enum sorex_status name_append(char out[KAFKA_TOPIC_MAX + 1], size_t *len, struct bytes part)
{
    if (part.len > KAFKA_TOPIC_MAX - *len)
        return SOREX_INVALID;
    for (size_t i = 0; i < part.len; i++)
        if (!permitted(part.data[i]))
            return SOREX_INVALID;
    if (part.len > 0)
        (void)memcpy(out + *len, part.data, part.len);
    *len += part.len;
    out[*len] = '\0';
    return SOREX_OK;
}

static enum sorex_status topic_name(const struct kafka_target *target, struct bytes table,
                                    char out[KAFKA_TOPIC_MAX + 1], struct sorex_error *err)
{
    size_t len = 0;
    enum sorex_status status = SOREX_OK;
    for (const char *at = target->topic; status == SOREX_OK && *at != '\0';) {
        struct bytes part = bytes_of(at, 1);
        size_t mark = 1;
        if (strncmp(at, table_mark, sizeof table_mark - 1) == 0) {
            mark = sizeof table_mark - 1;
            part = table;
        } else if (strncmp(at, pipeline_mark, sizeof pipeline_mark - 1) == 0) {
            mark = sizeof pipeline_mark - 1;
            part = bytes_str(target->pipeline);
        }
        status = name_append(out, &len, part);
        at += mark;
    }
    if (status != SOREX_OK || len == 0 || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        return sorex_error_set(
            err, SOREX_INVALID,
            "topic \"%s\" with table \"%.*s\" is no name of a topic: letters, digits, \".\", \"_\" and \"-\", "
            "at most %d. Choices: a topic without {table}; or a filter that gives the table another name",
            target->topic, BYTES_FMT(table), KAFKA_TOPIC_MAX);
    return SOREX_OK;
}

/* The place of the table, or where it belongs. */
static size_t table_place(const struct kafka_target *target, struct bytes table, bool *out_found)
{
    size_t low = 0;
    size_t high = target->table_count;
    *out_found = false;
    while (low < high && !*out_found) {
        size_t middle = low + (high - low) / 2;
        int order = bytes_compare(target->tables[middle]->table, table);
        *out_found = order == 0;
        if (order == 0)
            low = middle;
        else if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct kafka_table *kafka_table_find(struct kafka_target *target, struct bytes table)
{
    if (target->last_table != NULL && bytes_equal(table, target->last_table->table))
        return target->last_table;
    bool found;
    size_t at = table_place(target, table, &found);
    if (found)
        target->last_table = target->tables[at];
    return found ? target->last_table : NULL;
}

static void table_free(struct kafka_table *table)
{
    if (table != NULL)
        free((void *)(uintptr_t)table->table.data);
    free(table);
}

static enum sorex_status table_make(const struct kafka_target *target, struct bytes name, struct kafka_table **out,
                                    struct sorex_error *err)
{
    struct kafka_table *table = calloc(1, sizeof *table);
    uint8_t *copy = malloc(name.len + 1);
    if (table == NULL || copy == NULL) {
        free(table);
        free(copy);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    if (name.len > 0)
        (void)memcpy(copy, name.data, name.len);
    table->table = bytes_of(copy, name.len);
    enum sorex_status status = topic_name(target, name, table->topic, err);
    if (status != SOREX_OK)
        table_free(table);
    else
        *out = table;
    return status;
}

static enum sorex_status tables_reserve(struct kafka_target *target, struct sorex_error *err)
{
    if (target->table_count < target->table_cap)
        return SOREX_OK;
    size_t cap = target->table_cap == 0 ? 16 : 2 * target->table_cap;
    struct kafka_table **tables = realloc(target->tables, cap * sizeof(struct kafka_table *));
    if (tables == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    target->tables = tables;
    target->table_cap = cap;
    return SOREX_OK;
}

/* The table's entry, made when it is new. */
static enum sorex_status table_need(struct kafka_target *target, struct bytes name, struct kafka_table **out,
                                    struct sorex_error *err)
{
    *out = kafka_table_find(target, name);
    if (*out != NULL)
        return SOREX_OK;
    bool found;
    size_t at = table_place(target, name, &found);
    TRY(tables_reserve(target, err));
    TRY(table_make(target, name, out, err));
    (void)memmove(target->tables + at + 1, target->tables + at,
                  (target->table_count - at) * sizeof(struct kafka_table *));
    target->tables[at] = *out;
    target->table_count++;
    return SOREX_OK;
}

enum sorex_status kafka_topic_prepare(struct kafka_target *target, const char *topic, struct sorex_error *err)
{
    uint32_t partitions;
    TRY(kafka_topic_find(target->producer, topic, &partitions, err));
    if (partitions == 0 && !target->create_topics)
        return sorex_error_set(err, SOREX_GONE, "there is no topic %s. Choices: make it; or set `create_topics: true`",
                               topic);
    if (partitions == 0) {
        struct kafka_topic_options options = {
            .name = topic, .partitions = target->partitions, .replication = target->replication};
        TRY(kafka_topic_make(target->producer, &options, err));
        log_line(LOG_INFO, target->client_name, "topic %s made", topic);
    }
    return SOREX_OK;
}

bool kafka_change_has_topic(const struct kafka_target *target, const struct sink_change *item)
{
    return item->change.raw.len > 0 || item->change.table.len > 0 || strstr(target->topic, table_mark) == NULL;
}

enum sorex_status kafka_tables_prepare(struct kafka_target *target, const struct sink_batch *batch,
                                       struct sorex_error *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct kafka_table *table;
        if (!kafka_change_has_topic(target, &batch->changes[i]))
            continue;
        enum sorex_status status = table_need(target, batch->changes[i].change.table, &table, err);
        if (status != SOREX_OK)
            return kafka_row_name(&batch->changes[i], err);
        if (table->ready)
            continue;
        status = kafka_topic_prepare(target, table->topic, err);
        if (status != SOREX_OK)
            return status == SOREX_AGAIN ? status : kafka_row_name(&batch->changes[i], err);
        table->ready = true;
    }
    return SOREX_OK;
}

void kafka_tables_free(struct kafka_target *target)
{
    for (size_t i = 0; i < target->table_count; i++)
        table_free(target->tables[i]);
    free(target->tables);
}
