/* Included before every file of the engine in test_alloc (-include): its allocations, and nobody else's, can be made to
 * fail. */
#ifndef TESTS_FAULT_ALLOC_H
#define TESTS_FAULT_ALLOC_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
#include <cstdlib>
extern "C" {
#endif

/* Makes the nth allocation from now on fail (0: none) and returns how many there were since the last call. Thread: any.
 */
unsigned long alloc_arm(unsigned long nth);
/* Where the last one failed, as "file:line"; "" when none did since alloc_arm. */
const char *alloc_failed(void);

void *alloc_malloc(size_t size, const char *file, int line);
void *alloc_calloc(size_t count, size_t size, const char *file, int line);
void *alloc_realloc(void *old, size_t size, const char *file, int line);
char *alloc_strdup(const char *text, const char *file, int line);
char *alloc_strndup(const char *text, size_t size, const char *file, int line);

#ifdef __cplusplus
}
namespace std /* std::malloc(...) too */
{
using ::alloc_calloc;
using ::alloc_malloc;
using ::alloc_realloc;
} // namespace std
#endif

#ifndef ALLOC_REAL
#undef strdup
#undef strndup
#define malloc(size) alloc_malloc(size, __FILE__, __LINE__)
#define calloc(count, size) alloc_calloc(count, size, __FILE__, __LINE__)
#define realloc(old, size) alloc_realloc(old, size, __FILE__, __LINE__)
#define strdup(text) alloc_strdup(text, __FILE__, __LINE__)
#define strndup(text, size) alloc_strndup(text, size, __FILE__, __LINE__)
#endif

#endif
