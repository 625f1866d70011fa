#include "store/fault.h"

#include <stdatomic.h>

static atomic_int armed;
static atomic_uint countdown;
static atomic_uint prune_budget = UINT32_MAX;
static atomic_uint undo_entries = UINT32_MAX;

void store_fault_arm(enum fault_kind kind, uint32_t nth)
{
    atomic_store(&countdown, nth);
    atomic_store(&armed, (int)kind);
}

enum fault_kind store_fault_next(void)
{
    if (atomic_load_explicit(&armed, memory_order_relaxed) == FAULT_NONE)
        return FAULT_NONE;
    if (atomic_fetch_sub(&countdown, 1) != 1)
        return FAULT_NONE;
    return (enum fault_kind)atomic_exchange(&armed, FAULT_NONE);
}

void store_fault_prune_budget(uint32_t keys) { atomic_store(&prune_budget, keys); }

uint32_t store_fault_prune_budget_get(uint32_t normal)
{
    uint32_t keys = atomic_load(&prune_budget);
    return keys == UINT32_MAX ? normal : keys;
}

void store_fault_undo_entries(uint32_t entries) { atomic_store(&undo_entries, entries); }

uint32_t store_fault_undo_entries_get(uint32_t normal)
{
    uint32_t entries = atomic_load(&undo_entries);
    return entries < normal ? entries : normal;
}
