/* Stream pipelines as users run them: `sorex run` in processes of their own, on a real broker, killed and stopped as a
 * test likes; what goes in, and a model of what must come out.
 *
 * An input event has an id, from 0 in the order of writing, and the key "k" + (id % STREAM_KEYS). Whatever happens,
 * each id must come out once, and those of one key in order. */
#ifndef SOREX_TESTS_KAFKA_STREAM_H
#define SOREX_TESTS_KAFKA_STREAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/header.h"
#include "integration/kafka.h"
#include "kafka/reader.h"

#define STREAM_KEYS 37
#define STREAM_DEADLINE_MS 120000
#define STREAM_PROCESSES_MAX 4

struct stream_process {
    pid_t pid; /* 0: not running */
    char file[PATH_MAX], log[PATH_MAX];
};

struct stream_world {
    struct kafka_broker *broker;
    char directory[PATH_MAX];
    char program[PATH_MAX], guests[PATH_MAX];
    struct stream_process processes[STREAM_PROCESSES_MAX];
    unsigned runs; /* data directories are never used by two of them */
};

/* Starts the broker. Ends the process with 77, saying so, when there is none. */
void stream_world_make(struct stream_world *world);
void stream_world_end(struct stream_world *world);

/* Writes events [from, to) to a topic in one transaction. partitions are decided by the key. */
void stream_write(const struct stream_world *world, const char *topic, int from, int to);
/* Writes one message as it is. text NULL: a tombstone. */
void stream_write_text(const struct stream_world *world, const char *topic, const char *key, const char *text);
void stream_write_headers(const struct stream_world *world, const char *topic, const char *key, const char *text,
                          const struct header *headers, size_t header_count);
/* The text of an event. */
#define STREAM_EVENT_SIZE 320
void stream_event(int id, char out[STREAM_EVENT_SIZE]);

/* Writes the pipeline file of process i: name "stream", source and sink as JSON objects, more: further top-level
 * members or "". */
void stream_configure(struct stream_world *world, size_t i, const char *name, const char *source, const char *sink,
                      const char *more);
/* `sorex run FILE`. */
void stream_start(struct stream_world *world, size_t i);
/* `sorex run FILE --until tip`. */
void stream_run_to_tip(struct stream_world *world, size_t i);
void stream_kill(struct stream_world *world, size_t i);
/* SIGTERM, and its end is waited for. */
void stream_stop(struct stream_world *world, size_t i);
void stream_stop_all(struct stream_world *world);
/* Waits until the process ended by itself. Returns its exit status. */
int stream_wait_end(struct stream_world *world, size_t i);
/* Whether the text is in the process's log. */
bool stream_logged(const struct stream_world *world, size_t i, const char *text);
void stream_wait_logged(const struct stream_world *world, size_t i, const char *text);

/* A source and a sink of the world's broker as JSON, in memory that the next two calls leave alone. */
const char *stream_source(const struct stream_world *world, const char *topic, const char *more);
const char *stream_sink(const struct stream_world *world, const char *topic, const char *more);

/* Waits until the topic has `count` messages; fails when it gets more. */
void stream_wait_count(const struct stream_world *world, const char *topic, size_t count);
/* Waits until the topic has more than `count`; returns how many. */
size_t stream_wait_more(const struct stream_world *world, const char *topic, size_t count);
/* Each id below `count` once, those of a key in order, in one partition. */
void stream_check(const struct stream_world *world, const char *topic, size_t count);
/* The id in an event's text, or -1. */
int stream_id(const char *text);

#endif
