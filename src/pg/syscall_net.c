/* There is no network. Numeric addresses are known nevertheless: PostgreSQL wants them when it reads pg_hba.conf. */
#include <arpa/inet.h>

#include "base/check.h"
#include "pg/syscall.h"

#define FAMILY_INET 2u
#define FAMILY_INET6 10u
#define NO_NAME (-2) /* EAI_NONAME */

enum machine_next sys_socket(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    return syscall_give(machine, values, W_EAFNOSUPPORT, 0);
}

enum machine_next sys_not_socket(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    return syscall_give(machine, values, W_ENOTSOCK, 0);
}

static enum machine_next no_name(union wasm_value *values)
{
    values[0].i32 = NO_NAME;
    return MACHINE_GO;
}

/* struct addrinfo: flags 0, family 4, socktype 8, protocol 12, addrlen 16, addr 20, canonname 24, next 28. */
enum machine_next sys_getaddrinfo(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    uint8_t address[16];
    uint32_t name_at = 0, info_at = 0;
    const char *text = values[0].u32 == 0 ? NULL : syscall_text(machine, values[0].u32);
    const uint8_t *hint = values[2].u32 == 0 ? NULL : syscall_range(machine, values[2].u32, 32);
    bool inet = text != NULL && inet_pton(AF_INET, text, address) == 1;
    bool inet6 = text != NULL && !inet && inet_pton(AF_INET6, text, address) == 1;
    if (!inet && !inet6)
        return no_name(values);
    uint32_t name_len = inet ? 16 : 28, type = hint == NULL ? 1 : u32le_get(hint + 8);
    enum machine_next next = syscall_alloc(machine, 16, name_len, &name_at);
    if (next == MACHINE_GO)
        next = syscall_alloc(machine, 16, 32, &info_at);
    if (next != MACHINE_GO)
        return next;
    uint8_t *name = name_at == 0 ? NULL : syscall_range(machine, name_at, name_len);
    uint8_t *info = info_at == 0 ? NULL : syscall_range(machine, info_at, 32);
    if (name == NULL || info == NULL || !syscall_put_u32(machine, values[3].u32, info_at))
        return no_name(values);
    u16le_put(name, (uint16_t)(inet ? FAMILY_INET : FAMILY_INET6));
    memcpy(name + (inet ? 4 : 8), address, inet ? 4 : 16);
    u32le_put(info + 4, inet ? FAMILY_INET : FAMILY_INET6);
    u32le_put(info + 8, type);
    u32le_put(info + 12, 6);
    u32le_put(info + 16, name_len);
    u32le_put(info + 20, name_at);
    values[0].i32 = 0;
    return MACHINE_GO;
}

enum machine_next sys_getnameinfo(void *user_data, struct machine *machine, union wasm_value *values)
{
    (void)user_data;
    (void)machine;
    return no_name(values);
}
