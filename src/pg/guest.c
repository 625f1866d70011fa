#include "pg/guest.h"

#include "base/check.h"
#include "pg/syscall.h"

#define GUEST_ROW(name, export, type) {export, type},
const struct machine_export guest_postgres_exports[] = {PROCESS_EXPORT_LIST,
                                                        GUEST_COMMON_LIST(GUEST_ROW) GUEST_POSTGRES_LIST(GUEST_ROW)};
const struct machine_export guest_initdb_exports[] = {PROCESS_EXPORT_LIST,
                                                      GUEST_COMMON_LIST(GUEST_ROW) GUEST_INITDB_LIST(GUEST_ROW)};
#undef GUEST_ROW

enum sorex_status guest_invoke(struct machine *machine, size_t func, uint32_t a, uint32_t b, uint32_t *out,
                             struct sorex_error *err)
{
    union wasm_value values[2] = {{.u32 = a}, {.u32 = b}};
    TRY(machine_call(machine, func, values, NULL, err));
    if (out != NULL)
        *out = values[0].u32;
    return SOREX_OK;
}

static enum sorex_status stack_take(struct machine *machine, uint32_t len, uint32_t *out, uint8_t **out_bytes,
                                    struct sorex_error *err)
{
    TRY(guest_invoke(machine, GUEST_STACK_ALLOC, len, 0, out, err));
    *out_bytes = syscall_range(machine, *out, len);
    return *out_bytes != NULL ? SOREX_OK : sorex_error_set(err, SOREX_GUEST, "its stack is full");
}

enum sorex_status guest_text_push(struct machine *machine, const char *text, uint32_t *out, struct sorex_error *err)
{
    uint8_t *bytes;
    size_t len = strlen(text) + 1;
    TRY(stack_take(machine, (uint32_t)len, out, &bytes, err));
    memcpy(bytes, text, len);
    return SOREX_OK;
}

enum sorex_status guest_main(struct process *process, struct machine *machine, const char *const *args, size_t count,
                             int32_t *out, struct sorex_error *err)
{
    uint32_t vector, text;
    uint8_t *bytes;
    bool exited;
    TRY(stack_take(machine, (uint32_t)(4 * (count + 1)), &vector, &bytes, err));
    for (size_t i = 0; i < count; i++) {
        TRY(guest_text_push(machine, args[i], &text, err));
        CHECK(syscall_put_u32(machine, vector + (uint32_t)(4 * i), text));
    }
    CHECK(syscall_put_u32(machine, vector + (uint32_t)(4 * count), 0));
    union wasm_value values[2] = {{.u32 = (uint32_t)count}, {.u32 = vector}};
    TRY(machine_call(machine, GUEST_MAIN, values, &exited, err));
    *out = exited ? process->exit_code : values[0].i32;
    return SOREX_OK;
}

enum sorex_status guest_fopen(struct machine *machine, const char *path, const char *mode, uint32_t *out,
                              struct sorex_error *err)
{
    uint32_t stack, path_at, mode_at;
    TRY(guest_invoke(machine, GUEST_STACK_GET, 0, 0, &stack, err));
    TRY(guest_text_push(machine, path, &path_at, err));
    TRY(guest_text_push(machine, mode, &mode_at, err));
    TRY(guest_invoke(machine, GUEST_FOPEN, path_at, mode_at, out, err));
    return guest_invoke(machine, GUEST_STACK_RESTORE, stack, 0, NULL, err);
}

enum sorex_status guest_commands_set(struct machine *machine, const struct machine_import callbacks[3],
                                     struct sorex_error *err)
{
    static const size_t setters[3] = {GUEST_SET_SYSTEM, GUEST_SET_POPEN, GUEST_SET_PCLOSE};
    for (size_t i = 0; i < 3; i++) {
        uint32_t slot;
        TRY(machine_callback_add(machine, &callbacks[i], &slot, err));
        TRY(guest_invoke(machine, setters[i], slot, 0, NULL, err));
    }
    return SOREX_OK;
}
