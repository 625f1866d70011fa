/* What the host calls in PostgreSQL and in initdb, both built by PGlite; and small things done with a guest's memory.
 */
#ifndef SOREX_PG_GUEST_H
#define SOREX_PG_GUEST_H

#include "pg/process.h"

/* X(name of the enumerator, export, type), behind those of process.h */
#define GUEST_COMMON_LIST(X)                                  \
    X(CTORS, "__wasm_call_ctors", "() ->")                    \
    X(MAIN, "__main_argc_argv", "(i32, i32) -> i32")          \
    X(STACK_ALLOC, "_emscripten_stack_alloc", "(i32) -> i32") \
    X(STACK_GET, "emscripten_stack_get_current", "() -> i32") \
    X(STACK_RESTORE, "_emscripten_stack_restore", "(i32) ->") \
    X(FOPEN, "fopen", "(i32, i32) -> i32")                    \
    X(FCLOSE, "fclose", "(i32) -> i32")                       \
    X(FFLUSH, "fflush", "(i32) -> i32")                       \
    X(FREOPEN, "pgl_freopen", "(i32, i32, i32) -> i32")       \
    X(SET_SYSTEM, "pgl_set_system_fn", "(i32) ->")            \
    X(SET_POPEN, "pgl_set_popen_fn", "(i32) ->")              \
    X(SET_PCLOSE, "pgl_set_pclose_fn", "(i32) ->")

#define GUEST_POSTGRES_LIST(X)                                \
    X(SET_STREAMS, "pgl_set_rw_cbs", "(i32, i32) ->")         \
    X(SET_ACTIVE, "pgl_setPGliteActive", "(i32) -> i32")      \
    X(START, "pgl_startPGlite", "() ->")                      \
    X(LOOP, "PostgresMainLoopOnce", "() ->")                  \
    X(LONGJMP, "PostgresMainLongJmp", "() ->")                \
    X(READY, "PostgresSendReadyForQueryIfNecessary", "() ->") \
    X(REMAINING, "pq_buffer_remaining_data", "() -> i32")     \
    X(FLUSH, "pgl_pq_flush", "() ->")                         \
    X(GREET, "pgl_sendConnData", "() ->")                     \
    X(SET_USER, "SetUserIdAndSecContext", "(i32, i32) ->")    \
    X(BEGIN, "StartTransactionCommand", "() ->")              \
    X(COMMIT, "CommitTransactionCommand", "() ->")            \
    X(SETTING, "SetConfigOption", "(i32, i32, i32, i32) ->")  \
    X(ATEXIT, "pgl_run_atexit_funcs", "() ->")                \
    X(TEMPRET_GET, "_emscripten_tempret_get", "() -> i32")    \
    X(TEMPRET_SET, "_emscripten_tempret_set", "(i32) ->")

#define GUEST_INITDB_LIST(X) X(PCLOSE, "pclose", "(i32) -> i32")

#define GUEST_ENUM(name, export, type) GUEST_##name,
enum guest_postgres_export {
    GUEST_FIRST = PROCESS_EXPORTS - 1,
    GUEST_COMMON_LIST(GUEST_ENUM) GUEST_POSTGRES_LIST(GUEST_ENUM) GUEST_POSTGRES_EXPORTS
};
enum guest_initdb_export { GUEST_INITDB_FIRST = GUEST_SET_PCLOSE, GUEST_INITDB_LIST(GUEST_ENUM) GUEST_INITDB_EXPORTS };
#undef GUEST_ENUM

extern const struct machine_export guest_postgres_exports[];
extern const struct machine_export guest_initdb_exports[];

/* A call without arguments or with one or two; *out (may be NULL): the result. The guest must return.
 * Errors: as machine_call. */
enum sorex_status guest_invoke(struct machine *machine, size_t func, uint32_t a, uint32_t b, uint32_t *out,
                             struct sorex_error *err);
/* A text on the guest's stack. Errors: SOREX_GUEST its stack is full. */
enum sorex_status guest_text_push(struct machine *machine, const char *text, uint32_t *out, struct sorex_error *err);
/* Runs main with these arguments, until it returns or exits; *out is the exit code. The stack stays as main leaves it.
 */
enum sorex_status guest_main(struct process *process, struct machine *machine, const char *const *args, size_t count,
                             int32_t *out, struct sorex_error *err);
/* fopen. *out 0: it failed. */
enum sorex_status guest_fopen(struct machine *machine, const char *path, const char *mode, uint32_t *out,
                              struct sorex_error *err);
/* Adds the three callbacks that stand for system, popen and pclose, and registers them. */
enum sorex_status guest_commands_set(struct machine *machine, const struct machine_import callbacks[3],
                                     struct sorex_error *err);

#endif
