/* Version of the library and program; CHANGELOG.md says what changed. */
#ifndef SOREX_VERSION_H
#define SOREX_VERSION_H

#define SOREX_VERSION_MAJOR 0
#define SOREX_VERSION_MINOR 1
#define SOREX_VERSION_PATCH 0
#define SOREX_VERSION "0.1.0"

#endif
