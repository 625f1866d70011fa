/* A call with another stack pointer. (makecontext and swapcontext would do as well; they cost two system calls, for
 * signal masks that are the same on both sides, and AddressSanitizer warns of them.) x86-64, as all code that runs
 * here. */
#include "wasm/fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"

#if defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__) /* gcc */
#define FIBER_ASAN 1
#endif
#ifdef FIBER_ASAN
#include <sanitizer/common_interface_defs.h>
#endif

#define PAGE_BYTES ((size_t)4096)

struct fiber {
    uint8_t *map; /* guard page, then the stack */
    size_t bytes; /* of the stack */
    bool running;
    fiber_fn *fn;
    void *user_data;
#ifdef FIBER_ASAN
    const void *caller_bottom; /* the stack to go back to */
    size_t caller_bytes;
#endif
};

/* AddressSanitizer is told which stack is in use. */
#ifdef FIBER_ASAN
#define STACK_LEAVE(save, bottom, bytes) __sanitizer_start_switch_fiber(save, bottom, bytes)
#define STACK_ENTERED(fake, bottom, bytes) __sanitizer_finish_switch_fiber(fake, bottom, bytes)
#else
#define STACK_LEAVE(save, bottom, bytes) ((void)0)
#define STACK_ENTERED(fake, bottom, bytes) ((void)0)
#endif

enum sorex_status fiber_open(size_t bytes, struct fiber **out, struct sorex_error *err)
{
    struct fiber *fiber = calloc(1, sizeof *fiber);
    if (fiber == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "stack: out of memory");
    fiber->bytes = (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    fiber->map = mmap(NULL, PAGE_BYTES + fiber->bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (fiber->map == MAP_FAILED || mprotect(fiber->map, PAGE_BYTES, PROT_NONE) != 0) {
        int code = errno;
        if (fiber->map != MAP_FAILED)
            (void)munmap(fiber->map, PAGE_BYTES + fiber->bytes);
        free(fiber);
        return sorex_error_set_errno(err, SOREX_NOMEM, code, "stack of %zu bytes", bytes);
    }
    *out = fiber;
    return SOREX_OK;
}

void fiber_close(struct fiber *fiber)
{
    if (fiber == NULL)
        return;
    CHECK(!fiber->running);
    (void)munmap(fiber->map, PAGE_BYTES + fiber->bytes);
    free(fiber);
}

static void fiber_main(void *user_data)
{
    struct fiber *fiber = user_data;
    STACK_ENTERED(NULL, &fiber->caller_bottom, &fiber->caller_bytes);
    fiber->fn(fiber->user_data);
    STACK_LEAVE(NULL, fiber->caller_bottom, fiber->caller_bytes);
}

/* Calls fn(user_data) with the stack pointer at top, which is a multiple of 16. The callee keeps rbx, and so the way
 * back. */
static void call_on(uint8_t *top, fiber_fn *fn, void *user_data)
{
    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %[top], %%rsp\n\t"
                     "callq *%[fn]\n\t"
                     "movq %%rbx, %%rsp"
                     : "+D"(user_data), [fn] "+a"(fn), [top] "+d"(top)
                     :
                     : "rbx", "rcx", "rsi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
                       "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc",
                       "memory");
}

void fiber_run(struct fiber *fiber, fiber_fn *fn, void *user_data)
{
    if (fiber->running) {
        fn(user_data);
        return;
    }
    fiber->running = true;
    fiber->fn = fn;
    fiber->user_data = user_data;
#ifdef FIBER_ASAN
    void *fake = NULL;
#endif
    STACK_LEAVE(&fake, fiber->map + PAGE_BYTES, fiber->bytes);
    call_on(fiber->map + PAGE_BYTES + fiber->bytes, fiber_main, fiber);
    STACK_ENTERED(fake, NULL, NULL);
    fiber->running = false;
}
