/* Over makecontext and swapcontext: 0.4 us for the way there and back, which saves and restores the signal mask. */
#include "wasm/fiber.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

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
    ucontext_t context, back;
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
    if (fiber->map == MAP_FAILED || mprotect(fiber->map, PAGE_BYTES, PROT_NONE) != 0 ||
        getcontext(&fiber->context) != 0) {
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

/* makecontext passes ints: the pointer comes in halves. */
static void fiber_main(unsigned high, unsigned low)
{
    struct fiber *fiber = (struct fiber *)(((uintptr_t)high << 32) | (uintptr_t)low);
    STACK_ENTERED(NULL, &fiber->caller_bottom, &fiber->caller_bytes);
    fiber->fn(fiber->user_data);
    STACK_LEAVE(NULL, fiber->caller_bottom, fiber->caller_bytes);
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
    fiber->context.uc_stack.ss_sp = fiber->map + PAGE_BYTES;
    fiber->context.uc_stack.ss_size = fiber->bytes;
    fiber->context.uc_link = &fiber->back;
    makecontext(&fiber->context, (void (*)(void))fiber_main, 2, (unsigned)((uintptr_t)fiber >> 32),
                (unsigned)((uintptr_t)fiber & 0xffffffffu));
#ifdef FIBER_ASAN
    void *fake = NULL;
#endif
    STACK_LEAVE(&fake, fiber->map + PAGE_BYTES, fiber->bytes);
    CHECK(swapcontext(&fiber->back, &fiber->context) == 0);
    STACK_ENTERED(fake, NULL, NULL);
    fiber->running = false;
}
