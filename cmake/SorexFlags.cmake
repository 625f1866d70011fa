# Warnings and hardening as targets that are linked PRIVATE, so that nothing leaks to users of the library.
add_library(sorex_warnings INTERFACE)
target_compile_options(sorex_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wwrite-strings -Wundef
  -Wformat=2 -Wvla -Wswitch-enum -Wnull-dereference
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition>
  $<$<C_COMPILER_ID:Clang>:-Wno-string-concatenation>) # long texts in tables are split over lines on purpose
if(SOREX_WERROR)
  target_compile_options(sorex_warnings INTERFACE -Werror)
endif()

add_library(sorex_hardening INTERFACE)
target_compile_definitions(sorex_hardening INTERFACE _GNU_SOURCE)
target_compile_options(sorex_hardening INTERFACE
  -ffp-contract=off -fno-common -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -fstack-protector-strong)
if(SOREX_SANITIZE)
  target_compile_options(sorex_hardening INTERFACE -fsanitize=${SOREX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(sorex_hardening INTERFACE -fsanitize=${SOREX_SANITIZE})
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/reports) # the test presets have what sanitizers say written there
else()
  target_compile_options(sorex_hardening INTERFACE -fstack-clash-protection -fcf-protection=full
    $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
  target_link_options(sorex_hardening INTERFACE -Wl,-z,relro,-z,now)
endif()

# What every program has besides its own sources.
set(SOREX_PROGRAM_SOURCES "")
if(SOREX_SANITIZE MATCHES thread)
  set(SOREX_PROGRAM_SOURCES ${CMAKE_SOURCE_DIR}/tests/tsan_threads.c)
endif()
