/* Every fixed maximum, with its reason. */
#ifndef SOREX_BASE_LIMITS_H
#define SOREX_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/* A buffer without a ceiling of its own: above any block, flush or batch, below what a 32-bit length can say. */
#define SOREX_BUF_BYTES_MAX ((size_t)1 << 31)

/* Entry payload: Bitcoin's largest serialized block is 4,000,000 bytes; other chains' are larger. */
#define SOREX_ENTRY_BYTES_MAX ((size_t)128 << 20)

/* One change as JSON: a row, not a file. */
#define SOREX_CHANGE_BYTES_MAX ((size_t)16 << 20)

/* Changes of one entry: bounds the outbox record. */
#define SOREX_ENTRY_CHANGES_MAX ((size_t)1 << 20)

/* A guest's key: RocksDB and memory both like it short; real guests use 8 to 200 bytes. */
#define SOREX_KEY_BYTES_MAX ((size_t)1 << 20)

/* A log line of a guest: longer ones are cut. */
#define SOREX_LOG_LINE_MAX ((size_t)4096)

/* A guest's linear memory by default: wasm32's own maximum less one page, which is what metashrew gives its guests. */
#define SOREX_MEMORY_BYTES_DEFAULT ((uint64_t)65535 << 16)

/* A guest's stack by default. */
#define SOREX_STACK_BYTES_DEFAULT ((size_t)1 << 20)

/* A wasm module's file. The largest indexers in the field have 3 MB. */
#define SOREX_MODULE_BYTES_MAX ((size_t)256 << 20)

/* JSON nesting, read or written. */
#define SOREX_JSON_DEPTH_MAX 128

/* "No height": empty store, unlimited end. */
#define SOREX_HEIGHT_NONE UINT32_MAX

#endif
