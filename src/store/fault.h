/* Failure injection for tests: makes the nth write to the database fail or ends the process there. Always compiled in;
 * off, it costs one relaxed load per write (not per key). */
#ifndef SOREX_STORE_FAULT_H
#define SOREX_STORE_FAULT_H

#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_FAIL,        /* the write returns SOREX_IO and nothing of it happens */
    FAULT_FAIL_AFTER,  /* the write happens, and returns SOREX_IO all the same */
    FAULT_EXIT_BEFORE, /* _exit(FAULT_EXIT_CODE) just before the write */
    FAULT_EXIT_AFTER,  /* ... just after it */
};

#define FAULT_EXIT_CODE 77

/* Arms the nth write from now on (1 = the next one), for the whole process. FAULT_NONE disarms. Thread: any. */
void store_fault_arm(enum fault_kind kind, uint32_t nth);

/* Keys that a group prunes at least, whatever its own size; UINT32_MAX restores the default. Small values make pruning
 * trail. */
void store_fault_prune_budget(uint32_t keys);
uint32_t store_fault_prune_budget_get(uint32_t normal);

/* Entries that one write of store_undo_to takes at most, at least 1; UINT32_MAX restores the default. */
void store_fault_undo_entries(uint32_t entries);
uint32_t store_fault_undo_entries_get(uint32_t normal);

/* Closes as a crash would: the unwritten group is lost. */
struct store;
void store_crash(struct store *store);

/* For db.c: counts one write; the fault that is due at it, else FAULT_NONE. */
enum fault_kind store_fault_next(void);

#endif
