#include "integration/postgres.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 60000
#define SETTINGS_MAX 32

struct postgres_server {
    char initdb[PATH_MAX];
    char postgres[PATH_MAX];
    char directory[64]; /* short: a unix socket's path has 107 bytes at most */
    char data[128];
    char log[128];
    char url[256];
    char tcp_url[256];
    char port_text[16];
    char *settings[SETTINGS_MAX];
    size_t setting_count;
    uid_t user;
    gid_t group;
    bool change_user;
    pid_t pid;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- finding things ---- */

static bool binary_in(const char *directory, size_t len, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%.*s/%s", (int)len, directory, name) < PATH_MAX && access(out, X_OK) == 0;
}

static bool binary_find(const char *name, char out[PATH_MAX])
{
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        if (len > 0 && binary_in(path, len, name, out))
            return true;
        path += len + (path[len] == ':');
    }
    for (int version = 18; version >= 13; version--) {
        char directory[64];
        int len = snprintf(directory, sizeof directory, "/usr/lib/postgresql/%d/bin", version);
        if (binary_in(directory, (size_t)len, name, out))
            return true;
    }
    return false;
}

static enum sorex_status user_find(struct postgres_server *server, struct sorex_error *err)
{
    if (geteuid() != 0)
        return SOREX_OK;
    const struct passwd *user = getpwnam("postgres");
    if (user == NULL)
        user = getpwnam("nobody");
    if (user == NULL)
        return sorex_error_set(err, SOREX_GONE,
                               "PostgreSQL does not run as root, and there is no user postgres or nobody");
    server->user = user->pw_uid;
    server->group = user->pw_gid;
    server->change_user = true;
    return SOREX_OK;
}

static int port_find(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        (void)close(fd);
    return port;
}

/* ---- processes ---- */

/* In the child: another user, output to the log, and no life after the test's process. */
static void child_run(const struct postgres_server *server, const char *const *arguments)
{
    if (server->change_user && (setgroups(0, NULL) != 0 || setgid(server->group) != 0 || setuid(server->user) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int out = open(server->log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    int in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(server->directory) != 0)
        _exit(126);
    char *argv[2 * SETTINGS_MAX + 16];
    size_t count = 0;
    for (; arguments[count] != NULL; count++)
        argv[count] = strdup(arguments[count]);
    argv[count] = NULL;
    (void)execv(argv[0], argv);
    _exit(127);
}

static pid_t child_start(const struct postgres_server *server, const char *const *arguments)
{
    pid_t pid = fork();
    if (pid == 0)
        child_run(server, arguments);
    return pid;
}

static enum sorex_status log_error(const struct postgres_server *server, struct sorex_error *err, const char *what)
{
    char text[600] = "";
    int fd = open(server->log, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        (void)lseek(fd, size > 599 ? size - 599 : 0, SEEK_SET);
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = '\0';
        (void)close(fd);
    }
    return sorex_error_set(err, SOREX_IO, "%s: %s", what, text);
}

static enum sorex_status initdb_run(const struct postgres_server *server, struct sorex_error *err)
{
    const char *arguments[] = {server->initdb, "-D", server->data, "-U",       "postgres", "-A", "trust",
                               "--no-sync",    "-E", "UTF8",       "--locale", "C",        NULL};
    pid_t pid = child_start(server, arguments);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return log_error(server, err, "initdb failed");
    return SOREX_OK;
}

/* The postmaster writes its state into line 8 of postmaster.pid, as pg_ctl knows. */
static bool is_ready(const struct postgres_server *server)
{
    char path[160];
    char text[1024] = "";
    (void)snprintf(path, sizeof path, "%s/postmaster.pid", server->data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    text[n < 0 ? 0 : n] = '\0';
    if (strtol(text, NULL, 10) != server->pid)
        return false;
    const char *line = text;
    for (int i = 1; i < 8 && line != NULL; i++)
        line = strchr(line, '\n') == NULL ? NULL : strchr(line, '\n') + 1;
    return line != NULL && strncmp(line, "ready", 5) == 0;
}

static void postmaster_start(struct postgres_server *server)
{
    const char *arguments[2 * SETTINGS_MAX + 16] = {server->postgres,  "-D", server->data,     "-k",
                                                    server->directory, "-p", server->port_text};
    size_t count = 7;
    for (size_t i = 0; i < server->setting_count; i++) {
        arguments[count++] = "-c";
        arguments[count++] = server->settings[i];
    }
    server->pid = child_start(server, arguments);
}

enum sorex_status postgres_server_start(struct postgres_server *server, struct sorex_error *err)
{
    uint64_t deadline = now_ms() + WAIT_MS;
    /* After a kill the old backends may need a moment to be gone; until then a new postmaster ends at once. */
    while (now_ms() < deadline) {
        if (server->pid <= 0)
            postmaster_start(server);
        if (server->pid < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "fork");
        if (is_ready(server))
            return SOREX_OK;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            server->pid = 0;
        (void)poll(NULL, 0, 10);
    }
    return log_error(server, err, "postgres does not get ready");
}

static void end(struct postgres_server *server, int signal_number)
{
    if (server->pid <= 0)
        return;
    (void)kill(server->pid, signal_number);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    server->pid = 0;
}

void postgres_server_stop(struct postgres_server *server) { end(server, SIGINT); }

void postgres_server_kill(struct postgres_server *server) { end(server, SIGKILL); }

enum sorex_status postgres_server_restart(struct postgres_server *server, struct sorex_error *err)
{
    postgres_server_stop(server);
    return postgres_server_start(server, err);
}

/* ---- life ---- */

static enum sorex_status directory_make(struct postgres_server *server, struct sorex_error *err)
{
    (void)snprintf(server->directory, sizeof server->directory, "/tmp/sorex-postgres-XXXXXX");
    if (mkdtemp(server->directory) == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "make a directory in /tmp");
    if (server->change_user && chown(server->directory, server->user, server->group) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "chown %s", server->directory);
    (void)snprintf(server->data, sizeof server->data, "%s/data", server->directory);
    (void)snprintf(server->log, sizeof server->log, "%s/log", server->directory);
    int port = port_find();
    (void)snprintf(server->port_text, sizeof server->port_text, "%d", port);
    (void)snprintf(server->url, sizeof server->url, "host=%s port=%d user=postgres dbname=postgres", server->directory,
                   port);
    (void)snprintf(server->tcp_url, sizeof server->tcp_url, "host=127.0.0.1 port=%d user=postgres dbname=postgres",
                   port);
    return SOREX_OK;
}

static enum sorex_status settings_copy(struct postgres_server *server, const char *const *settings,
                                       struct sorex_error *err)
{
    static const char *const fixed[] = {"listen_addresses=127.0.0.1", "fsync=off", "max_wal_size=1GB", NULL};
    const char *const *lists[] = {fixed, settings};
    for (size_t list = 0; list < 2; list++)
        for (size_t i = 0; lists[list] != NULL && lists[list][i] != NULL; i++) {
            if (server->setting_count == SETTINGS_MAX)
                return sorex_error_set(err, SOREX_LIMIT, "more than %d settings", SETTINGS_MAX);
            server->settings[server->setting_count] = strdup(lists[list][i]);
            if (server->settings[server->setting_count++] == NULL)
                return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        }
    return SOREX_OK;
}

static enum sorex_status server_make(struct postgres_server *server, const char *const *settings,
                                     struct sorex_error *err)
{
    enum sorex_status status = user_find(server, err);
    if (status == SOREX_OK)
        status = settings_copy(server, settings, err);
    if (status == SOREX_OK)
        status = directory_make(server, err);
    if (status == SOREX_OK)
        status = initdb_run(server, err);
    if (status == SOREX_OK)
        status = postgres_server_start(server, err);
    return status;
}

enum sorex_status postgres_server_new(const char *const *settings, struct postgres_server **out,
                                      struct sorex_error *err)
{
    struct postgres_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    if (!binary_find("initdb", server->initdb) || !binary_find("postgres", server->postgres)) {
        free(server);
        return sorex_error_set(
            err, SOREX_GONE,
            "initdb and postgres are neither on PATH nor in /usr/lib/postgresql (Debian: postgresql-15)");
    }
    enum sorex_status status = server_make(server, settings, err);
    if (status != SOREX_OK) {
        postgres_server_free(server);
        return status;
    }
    *out = server;
    return SOREX_OK;
}

static int entry_remove(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void postgres_server_free(struct postgres_server *server)
{
    if (server == NULL)
        return;
    end(server, SIGQUIT);
    if (server->directory[0] != '\0')
        (void)nftw(server->directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
    for (size_t i = 0; i < server->setting_count; i++)
        free(server->settings[i]);
    free(server);
}

const char *postgres_server_url(const struct postgres_server *server) { return server->url; }

const char *postgres_server_tcp_url(const struct postgres_server *server) { return server->tcp_url; }

pid_t postgres_server_pid(const struct postgres_server *server) { return server->pid; }
