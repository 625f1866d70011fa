# cmake -D PRESET=... -D SOURCE=... -D BINARY=... -P build.cmake: the program as this preset makes it.
foreach(command "--preset;${PRESET};-B;${BINARY}" "--build;${BINARY};--target;sorex_program")
  execute_process(COMMAND ${CMAKE_COMMAND} ${command} WORKING_DIRECTORY ${SOURCE} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
