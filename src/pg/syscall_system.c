/* The process and its surroundings: ending, environment, time, memory, libraries. */
#include <time.h>

#include "base/check.h"
#include "pg/guest.h"
#include "pg/syscall.h"

#define HEAP_BYTES_MAX ((uint64_t)2147418112) /* 2 GiB less one page of 64 KiB */
#define LOOK_NS 1000

enum machine_next sys_nothing(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    return syscall_give(machine, values, W_SUCCESS, 0);
}

enum machine_next sys_void(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    (void)machine;
    (void)values;
    return MACHINE_GO;
}

/* -- ending */

enum machine_next sys_exit(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    (void)machine;
    process->exit_code = values[0].i32;
    return MACHINE_EXIT;
}

enum machine_next sys_abort(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    (void)values;
    return machine_fail(machine, SOREX_GUEST, "it called abort");
}

enum machine_next sys_assert(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    const char *text = syscall_text(machine, values[0].u32);
    return machine_fail(machine, SOREX_GUEST, "assertion failed: %.200s", text == NULL ? "?" : text);
}

enum machine_next sys_sighandler(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    union wasm_value signal = {.u32 = values[1].u32};
    bool exited = false;
    if (machine_call_slot(machine, values[0].u32, "(i32) ->", &signal, &exited, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    return exited ? MACHINE_EXIT : MACHINE_GO;
}

/* -- environment */

enum machine_next sys_environ_sizes(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    uint32_t count = 0, bytes = 0;
    for (; process->environment[count] != NULL; count++)
        bytes += (uint32_t)strlen(process->environment[count]) + 1;
    bool ok = syscall_put_u32(machine, values[0].u32, count) && syscall_put_u32(machine, values[1].u32, bytes);
    return syscall_errno(machine, values, ok ? W_SUCCESS : W_EFAULT);
}

enum machine_next sys_environ(void *user_data, struct machine *machine, union wasm_value *values)
{
    const struct process *process = user_data;
    uint32_t pointers = values[0].u32, text = values[1].u32;
    for (const char *const *entry = process->environment; *entry != NULL; entry++) {
        uint32_t len = (uint32_t)strlen(*entry) + 1;
        uint8_t *out = syscall_range(machine, text, len);
        if (out == NULL || !syscall_put_u32(machine, pointers, text))
            return syscall_errno(machine, values, W_EFAULT);
        memcpy(out, *entry, len);
        pointers += 4;
        text += len;
    }
    return syscall_errno(machine, values, W_SUCCESS);
}

enum machine_next sys_random(void *user_data, struct machine *machine, union wasm_value *values)
{
    uint8_t *out = syscall_range(machine, values[0].u32, values[1].u32);
    if (out == NULL)
        return syscall_errno(machine, values, W_EFAULT);
    for (uint32_t i = 0; i < values[1].u32; i++)
        out[i] = (uint8_t)process_random(user_data);
    return syscall_errno(machine, values, W_SUCCESS);
}

/* -- time: virtual, a microsecond for every look at it */

static void look(struct process *process)
{
    process->state->clock_ns += LOOK_NS;
    process->state->monotonic_ns += LOOK_NS;
}

enum machine_next sys_clock(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    uint8_t *out = syscall_range(machine, values[2].u32, 8);
    if (out == NULL)
        return syscall_errno(machine, values, W_EFAULT);
    look(process);
    u64le_put(out, values[0].u32 == 0 ? process->state->clock_ns : process->state->monotonic_ns);
    return syscall_errno(machine, values, W_SUCCESS);
}

static enum machine_next give_f64(union wasm_value *values, double value)
{
    memcpy(&values[0].f64_bits, &value, sizeof value);
    return MACHINE_GO;
}

enum machine_next sys_date_now(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    (void)machine;
    process->state->clock_ns += LOOK_NS;
    return give_f64(values, (double)(process->state->clock_ns / 1000) / 1000.0);
}

enum machine_next sys_get_now(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    (void)machine;
    process->state->monotonic_ns += LOOK_NS;
    return give_f64(values, (double)process->state->monotonic_ns / 1e6);
}

/* struct tm: sec, min, hour, mday, mon, year, wday, yday, isdst, gmtoff; the first eight, always UTC. */
static uint8_t *tm_put(const struct machine *machine, int64_t seconds, uint32_t at)
{
    struct tm tm = {0};
    time_t time = seconds;
    uint8_t *p = syscall_range(machine, at, 40);
    if (p == NULL || gmtime_r(&time, &tm) == NULL)
        return p;
    const int fields[] = {tm.tm_sec, tm.tm_min, tm.tm_hour, tm.tm_mday, tm.tm_mon, tm.tm_year, tm.tm_wday, tm.tm_yday};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        u32le_put(p + 4 * i, (uint32_t)fields[i]);
    return p;
}

static enum machine_next void_or_fault(struct machine *machine, bool ok)
{
    return ok ? MACHINE_GO : machine_fail(machine, SOREX_GUEST, "a pointer is outside of its memory");
}

enum machine_next sys_gmtime(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    bool ok = tm_put(machine, values[0].i64, values[1].u32) != NULL;
    return syscall_give(machine, values, ok ? W_SUCCESS : W_EFAULT, 0);
}

enum machine_next sys_localtime(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    uint8_t *p = tm_put(machine, values[0].i64, values[1].u32);
    if (p != NULL)
        memset(p + 32, 0, 8);
    return syscall_give(machine, values, p != NULL ? W_SUCCESS : W_EFAULT, 0);
}

enum machine_next sys_mktime(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    const uint8_t *p = syscall_range(machine, values[0].u32, 24);
    if (p == NULL)
        return void_or_fault(machine, false);
    struct tm tm = {.tm_sec = (int)u32le_get(p),
                    .tm_min = (int)u32le_get(p + 4),
                    .tm_hour = (int)u32le_get(p + 8),
                    .tm_mday = (int)u32le_get(p + 12),
                    .tm_mon = (int)u32le_get(p + 16),
                    .tm_year = (int)u32le_get(p + 20)};
    values[0].i64 = timegm(&tm);
    return MACHINE_GO;
}

enum machine_next sys_tzset(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    uint8_t *winter = syscall_range(machine, values[2].u32, 4), *summer = syscall_range(machine, values[3].u32, 4);
    bool ok = syscall_put_u32(machine, values[0].u32, 0) && syscall_put_u32(machine, values[1].u32, 0) &&
              winter != NULL && summer != NULL;
    if (ok) {
        memcpy(winter, "UTC", 4);
        memcpy(summer, "UTC", 4);
    }
    return void_or_fault(machine, ok);
}

/* -- memory */

enum machine_next sys_heap_max(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    (void)machine;
    values[0].u32 = (uint32_t)1 << 31;
    return MACHINE_GO;
}

/* As Emscripten's: a fifth more than asked for, at most 96 MiB more, in pages. */
enum machine_next sys_resize_heap(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    uint64_t asked = values[0].u32, size = machine_memory(machine).len;
    uint64_t wanted = size + size / 5;
    bool grown = false;
    if (wanted > asked + ((uint64_t)96 << 20))
        wanted = asked + ((uint64_t)96 << 20);
    if (wanted < asked)
        wanted = asked;
    wanted = (wanted + 65535) / 65536 * 65536;
    if (wanted > HEAP_BYTES_MAX)
        wanted = HEAP_BYTES_MAX;
    if (wanted >= asked && wanted > size && machine_memory_grow(machine, wanted - size, &grown, &err) != SOREX_OK)
        return machine_fail_with(machine, &err);
    values[0].u32 = grown;
    return MACHINE_GO;
}

/* -- libraries */

enum machine_next sys_dlopen(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    bool ok = false;
    enum machine_next next =
        process->host == NULL ? MACHINE_GO : process->host->library_open(process, machine, values[0].u32, &ok);
    values[0].u32 = ok;
    return next;
}

enum machine_next sys_dlsym(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct process *process = user_data;
    const char *name = syscall_text(machine, values[1].u32);
    uint32_t address = 0;
    enum machine_next next = process->host == NULL || name == NULL
                                 ? MACHINE_GO
                                 : process->host->library_symbol(process, machine, values[0].u32, name, &address);
    values[0].u32 = address;
    return next;
}

/* The upper half of 64-bit results: libraries ask the host, which asks the main module of PostgreSQL. */
enum machine_next sys_tempret_get(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    enum sorex_status status = guest_invoke(machine, GUEST_TEMPRET_GET, 0, 0, &values[0].u32, &err);
    return status == SOREX_OK ? MACHINE_GO : machine_fail_with(machine, &err);
}

enum machine_next sys_tempret_set(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    struct sorex_error err = {0};
    enum sorex_status status = guest_invoke(machine, GUEST_TEMPRET_SET, values[0].u32, 0, NULL, &err);
    return status == SOREX_OK ? MACHINE_GO : machine_fail_with(machine, &err);
}
