#include "integration/kafka.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "integration/process.h"

#define START_MS 120000
#define STOP_MS 20000
#define LOG_END 700

struct kafka_broker {
    char java[PATH_MAX];
    char class_path[PATH_MAX];
    char directory[PATH_MAX];
    char properties[PATH_MAX];
    char log_option[PATH_MAX];
    char log[PATH_MAX];
    char address[32], sasl_address[32], tls_address[32];
    char certificate[PATH_MAX]; /* "": there is none */
    long log_from;              /* where the log of this start begins */
    pid_t pid;
};

static bool path_set(char out[PATH_MAX], const char *directory, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", directory, name) < PATH_MAX;
}

/* ---- finding things ---- */

static bool has_jar(const char *directory)
{
    DIR *entries = opendir(directory);
    bool found = false;
    const struct dirent *entry;
    while (entries != NULL && !found && (entry = readdir(entries)) != NULL)
        found = strncmp(entry->d_name, "kafka_2.13-", 11) == 0;
    if (entries != NULL)
        (void)closedir(entries);
    return found;
}

static bool jars_find(struct kafka_broker *broker)
{
    const char *given = getenv("SOREX_KAFKA_LIBS");
    const char *source = getenv("SOREX_SOURCE_DIR");
    char libs[PATH_MAX] = "";
    if (given != NULL)
        (void)snprintf(libs, sizeof libs, "%s", given);
    else if (source == NULL || !path_set(libs, source, "build/deps/kafka/libs"))
        return false;
    return has_jar(libs) && path_set(broker->class_path, libs, "*");
}

/* ---- files ---- */

static enum sorex_status text_write(const char *path, const char *text, const char *const *lines,
                                    struct sorex_error *err)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "make %s", path);
    bool written = fputs(text, file) >= 0;
    for (size_t i = 0; lines != NULL && lines[i] != NULL; i++)
        written = fprintf(file, "%s\n", lines[i]) > 0 && written;
    if (fclose(file) != 0 || !written)
        return sorex_error_set(err, SOREX_IO, "%s cannot be written", path);
    return SOREX_OK;
}

enum { CLIENTS, CONTROLLER, SASL, TLS, LISTENERS };

/* Ports that are free now and differ. */
static void ports_find(int ports[LISTENERS])
{
    for (int i = 0; i < LISTENERS; i++)
        for (bool taken = true; taken;) {
            ports[i] = port_free();
            taken = false;
            for (int before = 0; before < i; before++)
                taken = taken || ports[before] == ports[i];
        }
}

/* A key and a certificate in one file, which is also what clients trust. */
static void certificate_make(struct kafka_broker *broker)
{
    char openssl[PATH_MAX];
    char file[PATH_MAX];
    pid_t pid = 0;
    if (!process_find("openssl", "SOREX_OPENSSL", openssl) || !path_set(file, broker->directory, "certificate.pem"))
        return;
    const char *argv[] = {openssl,    "req",
                          "-x509",    "-newkey",
                          "rsa:2048", "-nodes",
                          "-days",    "2",
                          "-subj",    "/CN=localhost",
                          "-addext",  "subjectAltName=IP:127.0.0.1",
                          "-keyout",  file,
                          "-out",     file,
                          NULL};
    if (process_start((char *const *)(void *)argv, broker->log, &pid, NULL) != SOREX_OK)
        return;
    while (process_alive(&pid))
        (void)poll(NULL, 0, 5);
    if (access(file, R_OK) == 0)
        (void)memcpy(broker->certificate, file, sizeof file);
}

static enum sorex_status tls_append(const struct kafka_broker *broker, int port, char *text, size_t size)
{
    size_t len = strlen(text);
    if (broker->certificate[0] == '\0')
        return SOREX_OK;
    int more = snprintf(text + len, size - len,
                        "listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d,SASL://%s,TLS://%s\n"
                        "advertised.listeners=PLAINTEXT://%s,SASL://%s,TLS://%s\n"
                        "listener.name.tls.ssl.keystore.type=PEM\n"
                        "listener.name.tls.ssl.keystore.location=%s\n",
                        broker->address, port, broker->sasl_address, broker->tls_address, broker->address,
                        broker->sasl_address, broker->tls_address, broker->certificate);
    return more >= 0 && (size_t)more < size - len ? SOREX_OK : SOREX_LIMIT;
}

static enum sorex_status properties_write(struct kafka_broker *broker, const char *const *settings,
                                          struct sorex_error *err)
{
    char text[4 * PATH_MAX];
    int ports[LISTENERS];
    ports_find(ports);
    (void)snprintf(broker->address, sizeof broker->address, "127.0.0.1:%d", ports[CLIENTS]);
    (void)snprintf(broker->sasl_address, sizeof broker->sasl_address, "127.0.0.1:%d", ports[SASL]);
    (void)snprintf(broker->tls_address, sizeof broker->tls_address, "127.0.0.1:%d", ports[TLS]);
    int len = snprintf(text, sizeof text,
                       "process.roles=broker,controller\n"
                       "node.id=1\n"
                       "controller.quorum.voters=1@127.0.0.1:%d\n"
                       "listeners=PLAINTEXT://%s,CONTROLLER://127.0.0.1:%d,SASL://%s\n"
                       "advertised.listeners=PLAINTEXT://%s,SASL://%s\n"
                       "inter.broker.listener.name=PLAINTEXT\n"
                       "controller.listener.names=CONTROLLER\n"
                       "listener.security.protocol.map="
                       "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL\n"
                       "sasl.enabled.mechanisms=PLAIN\n"
                       "listener.name.sasl.plain.sasl.jaas.config="
                       "org.apache.kafka.common.security.plain.PlainLoginModule required user_sorex=\"sesame\";\n"
                       "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
                       "allow.everyone.if.no.acl.found=true\n"
                       "super.users=User:ANONYMOUS\n"
                       "log.dirs=%s/data\n"
                       "log.retention.ms=-1\n" /* the times in tests are those of some past year */
                       "offsets.topic.num.partitions=1\n"
                       "offsets.topic.replication.factor=1\n"
                       "transaction.state.log.num.partitions=1\n"
                       "transaction.state.log.replication.factor=1\n"
                       "transaction.state.log.min.isr=1\n"
                       "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n"
                       "group.initial.rebalance.delay.ms=0\n"
                       "group.min.session.timeout.ms=1000\n"
                       /* A broker that was killed is let in again when the one before is given up. */
                       "broker.session.timeout.ms=3000\n"
                       "broker.heartbeat.interval.ms=500\n"
                       "auto.create.topics.enable=false\n"
                       "controlled.shutdown.enable=false\n",
                       ports[CONTROLLER], broker->address, ports[CONTROLLER], broker->sasl_address, broker->address,
                       broker->sasl_address, broker->directory);
    if (len < 0 || (size_t)len >= sizeof text || tls_append(broker, ports[CONTROLLER], text, sizeof text) != SOREX_OK)
        return sorex_error_set(err, SOREX_LIMIT, "the path %s is too long", broker->directory);
    return text_write(broker->properties, text, settings, err);
}

static enum sorex_status files_write(struct kafka_broker *broker, const char *const *settings, struct sorex_error *err)
{
    static const char log4j[] = "log4j.rootLogger=INFO, out\n"
                                "log4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                                "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
                                "log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n\n";
    char path[PATH_MAX];
    if (scratch_make(broker->directory, err) != SOREX_OK)
        return SOREX_IO;
    if (!path_set(broker->properties, broker->directory, "server.properties") ||
        !path_set(broker->log, broker->directory, "log") || !path_set(path, broker->directory, "log4j.properties") ||
        snprintf(broker->log_option, PATH_MAX, "-Dlog4j.configuration=file:%s", path) >= PATH_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "the path %s is too long", broker->directory);
    certificate_make(broker);
    enum sorex_status status = text_write(path, log4j, NULL, err);
    return status == SOREX_OK ? properties_write(broker, settings, err) : status;
}

/* ---- the JVM ---- */

static enum sorex_status jvm_start(struct kafka_broker *broker, const char *main_class, const char *const arguments[],
                                   struct sorex_error *err)
{
    const char *argv[24] = {
        broker->java,       "-Xms256m", "-Xmx512m",         "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        broker->log_option, "-cp",      broker->class_path, main_class};
    size_t count = 9;
    for (size_t i = 0; arguments[i] != NULL && count < 23; i++)
        argv[count++] = arguments[i];
    return process_start((char *const *)(void *)argv, broker->log, &broker->pid, err);
}

static enum sorex_status log_error(const struct kafka_broker *broker, const char *what, struct sorex_error *err)
{
    char text[LOG_END + 1] = "";
    FILE *file = fopen(broker->log, "re");
    if (file != NULL) {
        (void)fseek(file, 0, SEEK_END);
        long size = ftell(file);
        (void)fseek(file, size > LOG_END ? size - LOG_END : 0, SEEK_SET);
        text[fread(text, 1, LOG_END, file)] = '\0';
        (void)fclose(file);
    }
    return sorex_error_set(err, SOREX_IO, "%s: %s", what, text);
}

static bool jvm_ended(void *user_data)
{
    struct kafka_broker *broker = user_data;
    return !process_alive(&broker->pid);
}

/* Writes the storage directory's identity; the cluster's id is 16 bytes in base64. */
static enum sorex_status format(struct kafka_broker *broker, struct sorex_error *err)
{
    char path[PATH_MAX];
    const char *arguments[] = {"format", "-t", "c29yZXgtdGVzdC1icm9rZQ", "-c", broker->properties, NULL};
    enum sorex_status status = jvm_start(broker, "kafka.tools.StorageTool", arguments, err);
    if (status != SOREX_OK)
        return status;
    if (!wait_for(jvm_ended, broker, START_MS))
        process_end(&broker->pid, SIGKILL, 0);
    FILE *made = path_set(path, broker->directory, "data/meta.properties") ? fopen(path, "re") : NULL;
    if (made == NULL)
        return log_error(broker, "the broker's storage was not formatted", err);
    (void)fclose(made);
    return SOREX_OK;
}

static bool started(const struct kafka_broker *broker)
{
    char line[1024];
    bool found = false;
    FILE *file = fopen(broker->log, "re");
    if (file == NULL)
        return false;
    (void)fseek(file, broker->log_from, SEEK_SET);
    while (!found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, "Kafka Server started") != NULL;
    (void)fclose(file);
    return found;
}

static bool started_or_ended(void *user_data)
{
    struct kafka_broker *broker = user_data;
    return started(broker) || !process_alive(&broker->pid);
}

enum sorex_status kafka_broker_start(struct kafka_broker *broker, struct sorex_error *err)
{
    const char *arguments[] = {broker->properties, NULL};
    FILE *file = fopen(broker->log, "ae");
    if (file == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", broker->log);
    (void)fseek(file, 0, SEEK_END);
    broker->log_from = ftell(file);
    (void)fclose(file);
    enum sorex_status status = jvm_start(broker, "kafka.Kafka", arguments, err);
    if (status != SOREX_OK)
        return status;
    if (wait_for(started_or_ended, broker, START_MS) && broker->pid != 0)
        return SOREX_OK;
    return log_error(broker, "the broker does not start", err);
}

void kafka_broker_stop(struct kafka_broker *broker) { process_end(&broker->pid, SIGTERM, STOP_MS); }

void kafka_broker_kill(struct kafka_broker *broker) { process_end(&broker->pid, SIGKILL, STOP_MS); }

void kafka_broker_pause(struct kafka_broker *broker) { (void)kill(broker->pid, SIGSTOP); }

void kafka_broker_resume(struct kafka_broker *broker) { (void)kill(broker->pid, SIGCONT); }

/* ---- life ---- */

enum sorex_status kafka_broker_new(const char *const *settings, struct kafka_broker **out, struct sorex_error *err)
{
    struct kafka_broker *broker = calloc(1, sizeof *broker);
    if (broker == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    if (!process_find("java", "SOREX_JAVA", broker->java) || !jars_find(broker)) {
        free(broker);
        return sorex_error_set(err, SOREX_GONE,
                               "no Kafka broker: java is not on PATH, or its jars are not in build/deps/kafka "
                               "(make test-deps)");
    }
    enum sorex_status status = files_write(broker, settings, err);
    if (status == SOREX_OK)
        status = format(broker, err);
    if (status == SOREX_OK)
        status = kafka_broker_start(broker, err);
    if (status != SOREX_OK) {
        kafka_broker_free(broker);
        return status;
    }
    *out = broker;
    return SOREX_OK;
}

void kafka_broker_free(struct kafka_broker *broker)
{
    if (broker == NULL)
        return;
    kafka_broker_kill(broker);
    scratch_remove(broker->directory);
    free(broker);
}

const char *kafka_broker_address(const struct kafka_broker *broker) { return broker->address; }

const char *kafka_broker_sasl_address(const struct kafka_broker *broker) { return broker->sasl_address; }

const char *kafka_broker_tls_address(const struct kafka_broker *broker)
{
    return broker->certificate[0] == '\0' ? NULL : broker->tls_address;
}

const char *kafka_broker_certificate(const struct kafka_broker *broker)
{
    return broker->certificate[0] == '\0' ? NULL : broker->certificate;
}

const char *kafka_broker_directory(const struct kafka_broker *broker) { return broker->directory; }

pid_t kafka_broker_pid(const struct kafka_broker *broker) { return broker->pid; }
