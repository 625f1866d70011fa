# find_package(sorex): target sorex::sorex. The library's own dependencies are linked into it or named in it: there is none to find.
include(${CMAKE_CURRENT_LIST_DIR}/sorexTargets.cmake)
