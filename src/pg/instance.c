#include "pg/instance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/guest.h"
#include "pg/library.h"
#include "pg/syscall.h"

#define EXIT_ALIVE 99 /* how PGlite's main ends: everything is set up, come back with messages */
#define EXIT_FATAL 1
#define EXIT_LONGJMP 100 /* an error jumped to the outermost handler */

/* Variables that PostgreSQL's signal handlers set, and its loops look at. */
enum interrupt_flag { FLAG_CANCEL, FLAG_TERMINATE, FLAG_PENDING, FLAG_LATCH, INTERRUPT_FLAGS };
static const char *const interrupt_names[] = {"QueryCancelPending", "ProcDiePending", "InterruptPending", "MyLatch"};

struct instance {
    struct postgres *postgres;
    struct machine *machine;
    struct tree tree;
    struct process process;
    struct process_state state;
    struct instance_options options;
    struct bytes in; /* what the backend has not read yet */
    struct buf *out;
    const struct instance_stream *stream; /* of instance_converse: where more comes from, and where to it goes */
    pthread_mutex_t lock;                 /* of interrupts */
    _Atomic uint32_t *interrupts[INTERRUPT_FLAGS]; /* NULL: nothing runs that could be interrupted */
    bool broken;
    bool output_full; /* of the last exchange */
    bool ended;       /* by itself: Terminate, or FATAL */
};

static const char *const environment[] = {"USER=postgres",
                                          "LOGNAME=postgres",
                                          "PATH=/",
                                          "PWD=/",
                                          "HOME=/home/postgres",
                                          "LANG=en_US.UTF-8",
                                          "_=/pglite/bin/postgres",
                                          "PGDATA=/pglite/data",
                                          "PGUSER=postgres",
                                          "PGDATABASE=postgres",
                                          "LC_COLLATE=en_US.UTF-8",
                                          "LC_CTYPE=en_US.UTF-8",
                                          "TZ=UTC",
                                          "PGTZ=UTC",
                                          "PGCLIENTENCODING=UTF8",
                                          "ICU_DATA=/pglite/icu",
                                          NULL};

/* No background processes and no parallel ones: there are none. -F: files are memory; so are buffers, and a state is
 * both, which leaves nothing to wait for at a commit (a twelfth of an INSERT). The depth is what the machine's stack
 * holds many times over, so that PostgreSQL's own check comes first. */
static const char *const arguments[] = {"/pglite/bin/postgres",
                                        "--single",
                                        "-F",
                                        "-O",
                                        "-j",
                                        "-c",
                                        "search_path=public",
                                        "-c",
                                        "exit_on_error=false",
                                        "-c",
                                        "log_checkpoints=false",
                                        "-c",
                                        "max_worker_processes=0",
                                        "-c",
                                        "max_parallel_workers=0",
                                        "-c",
                                        "max_parallel_workers_per_gather=0",
                                        "-c",
                                        "io_method=sync",
                                        "-c",
                                        "max_parallel_maintenance_workers=0",
                                        "-c",
                                        "shared_buffers=8MB",
                                        "-c",
                                        "synchronous_commit=off",
                                        "-c",
                                        "max_stack_depth=500kB",
                                        "-D",
                                        "/pglite/data",
                                        "postgres"};

/* -- what the backend calls */

static enum machine_next on_system(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    (void)machine;
    values[0].i32 = 1 << 8; /* no command ever succeeds */
    return MACHINE_GO;
}

/* The one command that is run outside of initdb lists the locales: the answer is a file. */
static enum machine_next on_popen(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    const char *command = syscall_text(machine, values[0].u32);
    uint32_t file = 0;
    if (command != NULL && strncmp(command, "locale -a", 9) == 0 &&
        guest_fopen(machine, "/pglite/locale-a", "r", &file, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    values[0].u32 = file;
    return MACHINE_GO;
}

static enum machine_next on_pclose(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    if (guest_invoke(machine, GUEST_FCLOSE, values[0].u32, 0, NULL, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    values[0].u32 = 0;
    return MACHINE_GO;
}

static struct instance *instance_of(void *user_data) { return ((struct process *)user_data)->owner; }

static enum machine_next stream_read(const struct instance_stream *stream, struct machine *machine,
                                     union wasm_value *values)
{
    struct sorex_error err = {0};
    size_t len = 0, room = values[1].u32;
    uint8_t *to = syscall_range(machine, values[0].u32, room);
    if (to == NULL)
        return machine_fail(machine, SOREX_GUEST, "a pointer is outside of its memory");
    if (stream->read(stream->user_data, to, room, &len, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    values[0].u32 = (uint32_t)len;
    return MACHINE_GO;
}

/* read(pointer, room): what there is, up to room bytes. */
static enum machine_next on_read(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct instance *instance = instance_of(user_data);
    if (instance->in.len == 0 && instance->stream != NULL)
        return stream_read(instance->stream, machine, values);
    size_t len = values[1].u32 < instance->in.len ? values[1].u32 : instance->in.len;
    uint8_t *to = syscall_range(machine, values[0].u32, len);
    if (to == NULL)
        return machine_fail(machine, SOREX_GUEST, "a pointer is outside of its memory");
    if (len > 0)
        memcpy(to, instance->in.data, len);
    instance->in = bytes_of(instance->in.data + len, instance->in.len - len);
    values[0].u32 = (uint32_t)len;
    return MACHINE_GO;
}

static enum machine_next on_write(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct instance *instance = instance_of(user_data);
    struct sorex_error err = {0};
    uint32_t len = values[1].u32;
    const uint8_t *from = syscall_range(machine, values[0].u32, len);
    if (from == NULL)
        return machine_fail(machine, SOREX_GUEST, "a pointer is outside of its memory");
    const struct instance_stream *stream = instance->stream;
    enum sorex_status status = SOREX_OK;
    if (stream != NULL)
        status = stream->write(stream->user_data, bytes_of(from, len), &err);
    else if (instance->out != NULL)
        status = buf_append(instance->out, bytes_of(from, len), &err);
    instance->output_full = stream == NULL && status == SOREX_LIMIT;
    if (status != SOREX_OK)
        return machine_fail_with(machine, &err);
    values[0].u32 = len;
    return MACHINE_GO;
}

static const struct machine_import command_callbacks[3] = {{"host", "system", "(i32) -> i32", on_system},
                                                           {"host", "popen", "(i32, i32) -> i32", on_popen},
                                                           {"host", "pclose", "(i32) -> i32", on_pclose}};
static const struct machine_import stream_callbacks[2] = {{"host", "read", "(i32, i32) -> i32", on_read},
                                                          {"host", "write", "(i32, i32) -> i32", on_write}};

const struct machine_import *instance_callback(size_t index)
{
    return index < 3 ? &command_callbacks[index] : index < 5 ? &stream_callbacks[index - 3] : NULL;
}

/* -- making */

static enum sorex_status machine_new(struct instance *instance, struct sorex_error *err)
{
    struct machine_options options = {.memory_bytes_max = instance->options.memory_bytes_max,
                                      .user_data = &instance->process};
    return machine_open(postgres_code(instance->postgres), &options, &instance->machine, err);
}

static enum sorex_status instance_make(struct postgres *postgres, const struct instance_options *options,
                                       struct instance **out, struct sorex_error *err)
{
    struct instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "instance: out of memory");
    instance->postgres = postgres;
    instance->options = *options;
    instance->broken = true;
    (void)pthread_mutex_init(&instance->lock, NULL);
    instance->process = (struct process){.tree = &instance->tree,
                                         .environment = environment,
                                         .host = &library_host,
                                         .state = &instance->state,
                                         .owner = instance,
                                         .postgres = postgres};
    enum sorex_status status = machine_new(instance, err);
    if (status != SOREX_OK) {
        (void)pthread_mutex_destroy(&instance->lock);
        free(instance);
        return status;
    }
    *out = instance;
    return SOREX_OK;
}

struct start {
    struct instance *instance;
    struct bytes wasm;
    enum sorex_status status;
    struct sorex_error *err;
};

static enum sorex_status machine_begin(struct instance *instance, struct sorex_error *err)
{
    uint32_t slots[2];
    struct machine *machine = instance->machine;
    TRY(guest_invoke(machine, GUEST_CTORS, 0, 0, NULL, err));
    TRY(guest_commands_set(machine, command_callbacks, err));
    for (size_t i = 0; i < 2; i++)
        TRY(machine_callback_add(machine, &stream_callbacks[i], &slots[i], err));
    return guest_invoke(machine, GUEST_SET_STREAMS, slots[0], slots[1], NULL, err);
}

/* A single-user backend leaves the session's role without a value to go back to: RESET SESSION AUTHORIZATION and
 * DISCARD ALL would do nothing. A server's sets it when it takes its user (InitializeSessionUserId). */
static enum sorex_status role_begin(struct machine *machine, struct sorex_error *err)
{
    enum { PGC_BACKEND = 4, PGC_S_OVERRIDE = 10 };
    uint32_t stack, name, value;
    TRY(guest_invoke(machine, GUEST_STACK_GET, 0, 0, &stack, err));
    TRY(guest_text_push(machine, "session_authorization", &name, err));
    TRY(guest_text_push(machine, "postgres", &value, err));
    union wasm_value values[4] = {{.u32 = name}, {.u32 = value}, {.u32 = PGC_BACKEND}, {.u32 = PGC_S_OVERRIDE}};
    TRY(guest_invoke(machine, GUEST_BEGIN, 0, 0, NULL, err));
    TRY(machine_call(machine, GUEST_SETTING, values, NULL, err));
    TRY(guest_invoke(machine, GUEST_COMMIT, 0, 0, NULL, err));
    return guest_invoke(machine, GUEST_STACK_RESTORE, stack, 0, NULL, err);
}

static enum sorex_status backend_start(struct instance *instance, struct sorex_error *err)
{
    int32_t code;
    struct machine *machine = instance->machine;
    TRY(machine_begin(instance, err));
    TRY(guest_invoke(machine, GUEST_SET_ACTIVE, 1, 0, NULL, err));
    TRY(guest_main(&instance->process, machine, arguments, sizeof arguments / sizeof *arguments, &code, err));
    if (code != EXIT_ALIVE)
        return sorex_error_set(err, SOREX_GUEST, "postgres did not come up: exit code %d", (int)code);
    TRY(guest_invoke(machine, GUEST_START, 0, 0, NULL, err));
    return role_begin(machine, err);
}

static void start_run(void *user_data)
{
    struct start *start = user_data;
    start->status = machine_start(start->instance->machine, start->wasm, start->err);
    if (start->status == SOREX_OK)
        start->status = backend_start(start->instance, start->err);
}

enum sorex_status instance_start(struct postgres *postgres, struct bytes wasm, struct tree *tree,
                                 const struct instance_options *options, struct instance **out, struct sorex_error *err)
{
    struct instance *instance = NULL;
    enum sorex_status status = instance_make(postgres, options, &instance, err);
    if (status != SOREX_OK) {
        tree_deinit(tree);
        return status;
    }
    instance->tree = *tree;
    *tree = (struct tree){0};
    status = process_begin(&instance->process, options->time_us, options->seed, err);
    struct start start = {.instance = instance, .wasm = wasm, .err = err};
    if (status == SOREX_OK) {
        machine_enter(instance->machine, start_run, &start);
        status = start.status;
    }
    if (status != SOREX_OK) {
        instance_close(instance);
        return status;
    }
    instance->broken = false;
    *out = instance;
    return SOREX_OK;
}

void instance_close(struct instance *instance)
{
    if (instance == NULL)
        return;
    machine_close(instance->machine);
    tree_deinit(&instance->tree);
    (void)pthread_mutex_destroy(&instance->lock);
    free(instance);
}

struct process *instance_process(struct instance *instance) { return &instance->process; }

struct postgres *instance_postgres(const struct instance *instance) { return instance->postgres; }

/* -- exchanges */

/* One turn of the main loop. An error of SQL jumps out of it, to a handler that goes on in a function of its own. */
static enum sorex_status turn(struct instance *instance, struct sorex_error *err)
{
    struct machine *machine = instance->machine;
    union wasm_value none = {0};
    uint32_t stack;
    bool exited;
    TRY(guest_invoke(machine, GUEST_STACK_GET, 0, 0, &stack, err));
    TRY(machine_call(machine, GUEST_LOOP, &none, &exited, err));
    if (!exited)
        return SOREX_OK;
    instance->ended = instance->process.exit_code == 0 || instance->process.exit_code == EXIT_FATAL;
    if (instance->process.exit_code != EXIT_LONGJMP)
        return sorex_error_set(err, SOREX_GUEST, "the backend ended with exit code %d",
                               (int)instance->process.exit_code);
    TRY(guest_invoke(machine, GUEST_STACK_RESTORE, stack, 0, NULL, err));
    return guest_invoke(machine, GUEST_LONGJMP, 0, 0, NULL, err);
}

static enum sorex_status turns(struct instance *instance, struct sorex_error *err)
{
    struct machine *machine = instance->machine;
    for (;;) {
        uint32_t remaining = 0;
        if (instance->in.len == 0)
            TRY(guest_invoke(machine, GUEST_REMAINING, 0, 0, &remaining, err));
        if (instance->in.len == 0 && remaining == 0)
            break;
        TRY(turn(instance, err));
    }
    TRY(guest_invoke(machine, GUEST_READY, 0, 0, NULL, err));
    return guest_invoke(machine, GUEST_FLUSH, 0, 0, NULL, err);
}

static void exchange_run(void *user_data)
{
    struct start *start = user_data;
    start->status = turns(start->instance, start->err);
}

enum sorex_status instance_exchange(struct instance *instance, struct bytes in, struct buf *out,
                                    struct sorex_error *err)
{
    if (instance->broken)
        return sorex_error_set(err, SOREX_INVALID, "the instance is broken: restore it");
    struct start start = {.instance = instance, .err = err};
    instance->in = in;
    instance->out = out;
    instance->output_full = false;
    machine_enter(instance->machine, exchange_run, &start);
    instance->in = bytes_of(NULL, 0);
    instance->out = NULL;
    instance->broken = start.status != SOREX_OK;
    return start.status;
}

/* -- conversations with a client */

static void interrupts_close(struct instance *instance)
{
    (void)pthread_mutex_lock(&instance->lock);
    for (size_t i = 0; i < INTERRUPT_FLAGS; i++)
        instance->interrupts[i] = NULL;
    (void)pthread_mutex_unlock(&instance->lock);
}

/* Where four bytes of the guest's lie. */
static enum sorex_status word_place(struct instance *instance, const char *name, uint32_t at, _Atomic uint32_t **out,
                                    struct sorex_error *err)
{
    *out = (_Atomic uint32_t *)(void *)syscall_range(instance->machine, at, sizeof(uint32_t));
    if (*out == NULL || at % sizeof(uint32_t) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "%s is nowhere", name);
    return SOREX_OK;
}

static enum sorex_status flag_place(struct instance *instance, enum interrupt_flag flag, _Atomic uint32_t **out,
                                    struct sorex_error *err)
{
    uint32_t at;
    const char *name = interrupt_names[flag];
    TRY(machine_data_symbol(instance->machine, name, &at, err));
    TRY(word_place(instance, name, at, out, err));
    if (flag == FLAG_LATCH) /* a pointer to a struct Latch, which begins with is_set */
        TRY(word_place(instance, name, atomic_load_explicit(*out, memory_order_relaxed), out, err));
    return SOREX_OK;
}

/* Until interrupts_close others may set the flags. Memory may grow meanwhile, but stays where it is. */
static enum sorex_status interrupts_open(struct instance *instance, struct sorex_error *err)
{
    _Atomic uint32_t *flags[INTERRUPT_FLAGS];
    for (size_t i = 0; i < INTERRUPT_FLAGS; i++)
        TRY(flag_place(instance, (enum interrupt_flag)i, &flags[i], err));
    (void)pthread_mutex_lock(&instance->lock);
    memcpy(instance->interrupts, flags, sizeof flags);
    (void)pthread_mutex_unlock(&instance->lock);
    return SOREX_OK;
}

enum sorex_status instance_converse(struct instance *instance, struct bytes in, const struct instance_stream *stream,
                                    bool *out_ended, struct sorex_error *err)
{
    *out_ended = instance->ended = false;
    TRY(interrupts_open(instance, err));
    instance->stream = stream;
    enum sorex_status status = instance_exchange(instance, in, NULL, err);
    instance->stream = NULL;
    interrupts_close(instance);
    *out_ended = status == SOREX_GUEST && instance->ended;
    return *out_ended ? SOREX_OK : status;
}

void instance_interrupt(struct instance *instance, enum instance_interrupt kind)
{
    size_t flag = kind == INSTANCE_CANCEL ? FLAG_CANCEL : FLAG_TERMINATE;
    (void)pthread_mutex_lock(&instance->lock);
    if (instance->interrupts[FLAG_PENDING] != NULL) {
        atomic_store_explicit(instance->interrupts[flag], 1, memory_order_relaxed);
        atomic_store_explicit(instance->interrupts[FLAG_PENDING], 1, memory_order_release);
        atomic_store_explicit(instance->interrupts[FLAG_LATCH], 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&instance->lock);
}

static void greet_run(void *user_data)
{
    struct start *start = user_data;
    struct machine *machine = start->instance->machine;
    start->status = guest_invoke(machine, GUEST_GREET, 0, 0, NULL, start->err);
    if (start->status == SOREX_OK)
        start->status = guest_invoke(machine, GUEST_FLUSH, 0, 0, NULL, start->err);
}

enum sorex_status instance_greet(struct instance *instance, struct buf *out, struct sorex_error *err)
{
    if (instance->broken)
        return sorex_error_set(err, SOREX_INVALID, "the instance is broken: restore it");
    struct start start = {.instance = instance, .err = err};
    instance->out = out;
    machine_enter(instance->machine, greet_run, &start);
    instance->out = NULL;
    instance->broken = start.status != SOREX_OK;
    return start.status;
}

bool instance_broken(const struct instance *instance) { return instance->broken; }

void instance_fuel_set(struct instance *instance, uint64_t fuel)
{
    if (instance->machine != NULL)
        machine_fuel_set(instance->machine, fuel);
}

enum instance_limit instance_limit_hit(const struct instance *instance)
{
    if (instance->output_full)
        return INSTANCE_LIMIT_OUTPUT;
    bool spent = postgres_metered(instance->postgres) && machine_fuel_left(instance->machine) == 0;
    return spent ? INSTANCE_LIMIT_FUEL : INSTANCE_LIMIT_STACK;
}

/* -- the role */

#define CONFINED 1u /* SECURITY_LOCAL_USERID_CHANGE, which PostgreSQL sets inside of SECURITY DEFINER functions */

struct role_change {
    struct instance *instance;
    uint32_t role, context;
    enum sorex_status status;
    struct sorex_error *err;
};

static void role_run(void *user_data)
{
    struct role_change *change = user_data;
    change->status =
        guest_invoke(change->instance->machine, GUEST_SET_USER, change->role, change->context, NULL, change->err);
}

enum sorex_status instance_role_set(struct instance *instance, uint32_t role, bool confined, struct sorex_error *err)
{
    if (instance->broken)
        return sorex_error_set(err, SOREX_INVALID, "the instance is broken: restore it");
    struct role_change change = {instance, role, confined ? CONFINED : 0, SOREX_OK, err};
    machine_enter(instance->machine, role_run, &change);
    instance->broken = change.status != SOREX_OK;
    return change.status;
}

static void shut_run(void *user_data)
{
    struct start *start = user_data;
    struct machine *machine = start->instance->machine;
    union wasm_value none = {0};
    bool exited;
    start->status = guest_invoke(machine, GUEST_SET_ACTIVE, 0, 0, NULL, start->err);
    if (start->status == SOREX_OK)
        start->status = machine_call(machine, GUEST_ATEXIT, &none, &exited, start->err);
}

enum sorex_status instance_shut(struct instance *instance, struct sorex_error *err)
{
    struct start start = {.instance = instance, .err = err};
    machine_enter(instance->machine, shut_run, &start);
    instance->broken = true;
    return start.status;
}

/* -- snapshots */

enum sorex_status instance_save(struct instance *instance, struct snapshot **out, struct sorex_error *err)
{
    if (instance->broken)
        return sorex_error_set(err, SOREX_INVALID, "the instance is broken: there is nothing to save");
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "snapshot: out of memory");
    enum sorex_status status = machine_save(instance->machine, &snapshot->machine, err);
    if (status != SOREX_OK) {
        free(snapshot);
        return status;
    }
    atomic_init(&snapshot->refs, 1);
    snapshot->postgres = instance->postgres;
    tree_copy(&snapshot->tree, &instance->tree);
    snapshot->state = instance->state;
    *out = snapshot;
    return SOREX_OK;
}

static enum sorex_status machine_replace(struct instance *instance, const struct snapshot *snapshot,
                                         struct sorex_error *err)
{
    machine_close(instance->machine);
    instance->machine = NULL;
    TRY(machine_new(instance, err));
    return machine_restore(instance->machine, &snapshot->machine, err);
}

enum sorex_status instance_restore(struct instance *instance, const struct snapshot *snapshot, struct sorex_error *err)
{
    struct sorex_error why = {0};
    instance->broken = true;
    enum sorex_status status =
        instance->machine == NULL ? SOREX_MISMATCH : machine_restore(instance->machine, &snapshot->machine, &why);
    if (status == SOREX_MISMATCH)
        status = machine_replace(instance, snapshot, &why);
    if (status != SOREX_OK)
        return sorex_error_set(err, status, "%s", why.text);
    tree_deinit(&instance->tree);
    tree_copy(&instance->tree, &snapshot->tree);
    instance->state = snapshot->state;
    instance->broken = false;
    return SOREX_OK;
}

enum sorex_status instance_fork(const struct snapshot *snapshot, uint64_t memory_bytes_max, struct instance **out,
                                struct sorex_error *err)
{
    struct instance *instance = NULL;
    struct instance_options options = {.memory_bytes_max = memory_bytes_max};
    TRY(instance_make(snapshot->postgres, &options, &instance, err));
    enum sorex_status status = instance_restore(instance, snapshot, err);
    if (status != SOREX_OK) {
        instance_close(instance);
        return status;
    }
    *out = instance;
    return SOREX_OK;
}

struct snapshot *snapshot_keep(const struct snapshot *snapshot)
{
    struct snapshot *kept = (struct snapshot *)(uintptr_t)snapshot; /* only its count changes */
    atomic_fetch_add_explicit(&kept->refs, 1, memory_order_relaxed);
    return kept;
}

void snapshot_drop(struct snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1)
        return;
    machine_image_deinit(&snapshot->machine);
    tree_deinit(&snapshot->tree);
    free(snapshot);
}
