# cmake -D PRESET=... -D SOURCE=... -D BINARY=... -P build.cmake: the programs as this preset makes them.
foreach(command "--preset;${PRESET};-B;${BINARY}" "--build;${BINARY};--target;sorex_program;pg_prepare")
  execute_process(COMMAND ${CMAKE_COMMAND} ${command} WORKING_DIRECTORY ${SOURCE} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
