# sorex_room(NAME SOURCES a.c b.c [ROOMS base json ...] [LIBS PkgConfig::X ...])
#   One folder of src/. Makes obj_NAME (objects, for libsorex and the program) and room_NAME (a static library with its
#   dependencies, for unit tests that link no more than they need).
function(sorex_room name)
  cmake_parse_arguments(R "" "" "SOURCES;ROOMS;LIBS" ${ARGN})
  add_library(obj_${name} OBJECT ${R_SOURCES})
  target_include_directories(obj_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(obj_${name} PRIVATE sorex_warnings sorex_hardening PUBLIC ${R_LIBS} Threads::Threads)
  add_library(room_${name} STATIC $<TARGET_OBJECTS:obj_${name}>)
  target_include_directories(room_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include)
  target_link_libraries(room_${name} PUBLIC ${R_LIBS} Threads::Threads)
  foreach(dep IN LISTS R_ROOMS)
    target_link_libraries(room_${name} PUBLIC room_${dep})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY SOREX_ROOMS ${name})
endfunction()

# sorex_test(NAME SOURCES test_x.c [ROOMS store ...] [LIBS ...] [TIMEOUT seconds] [LABELS ...] [ARGS ...])
#   One cmocka program that is one ctest test, run in a process of its own with a timeout.
function(sorex_test name)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;ROOMS;LIBS;LABELS;ARGS" ${ARGN})
  # cmocka and Wasmtime both want the fault signals: see the file. It is harmless where no guest runs.
  add_executable(${name} ${T_SOURCES} ${CMAKE_SOURCE_DIR}/tests/wasm/cmocka_signals.c
                 ${SOREX_PROGRAM_SOURCES})
  target_link_libraries(${name} PRIVATE sorex_warnings sorex_hardening cmocka ${T_LIBS})
  foreach(dep IN LISTS T_ROOMS)
    target_link_libraries(${name} PRIVATE room_${dep})
  endforeach()
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${name} ${T_ARGS} WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}"
    ENVIRONMENT "SOREX_GUESTS=${CMAKE_BINARY_DIR}/guests;SOREX_SOURCE_DIR=${CMAKE_SOURCE_DIR};SOREX_BIN=${CMAKE_BINARY_DIR}/src/sorex")
endfunction()
