# Compiler settings, and gatehouse_room(): one static library per room.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The sloppiness is what ccache asks for with precompiled headers, and no more: trusting a header
  # that changed during a compile has given wrong objects. Paths are taken relative to the tree, so
  # that another clone of it finds the same objects.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual -pthread -fno-plt -fstack-protector-strong -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees uninitialised things in variant2, and with sanitizers a foreign delete of coroutine
  # frames, that are not there.
  add_compile_options(-Wno-maybe-uninitialized -Wno-mismatched-new-delete -fpch-preprocess)
  # Link-time optimisation on all cores, not on one.
  set(CMAKE_CXX_COMPILE_OPTIONS_IPO -flto=auto -fno-fat-lto-objects)
endif()
option(GATEHOUSE_WERROR "Treat warnings as errors" ON)
if(GATEHOUSE_WERROR)
  add_compile_options(-Werror)
endif()

set(GATEHOUSE_SANITIZE "" CACHE STRING "Value for -fsanitize, such as address,undefined")
if(GATEHOUSE_SANITIZE)
  add_compile_options(-fsanitize=${GATEHOUSE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${GATEHOUSE_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options(-fno-sanitize=function)  # clang 14 cannot put it into coroutines.
  elseif(GATEHOUSE_SANITIZE MATCHES "thread")
    add_compile_options(-Wno-tsan)  # Asio's fences, which GCC's ThreadSanitizer does not know.
  endif()
endif()
option(GATEHOUSE_KILL_POINTS "Compile in the places where tests kill the process" OFF)
if(GATEHOUSE_KILL_POINTS)
  add_compile_definitions(GATEHOUSE_KILL_POINTS)
endif()
add_compile_definitions(BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY=1)

# Compiles `target` with a precompiled header, which `owner` has first.
function(gatehouse_precompile target owner header)
  if(target STREQUAL owner)
    target_precompile_headers(${target} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/${header})
  else()
    target_precompile_headers(${target} REUSE_FROM ${owner})
  endif()
endfunction()

# gatehouse_room(NAME FOLDER dir [EXCEPT file...] [LINK target...] [ASIO])
# ASIO: compiles with a precompiled header of Asio's and the standard library's heavy parts.
function(gatehouse_room name)
  cmake_parse_arguments(ROOM "ASIO" "FOLDER" "EXCEPT;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER}/*.cc)
  foreach(except ${ROOM_EXCEPT})
    list(REMOVE_ITEM sources ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER}/${except})
  endforeach()
  if(NOT sources)
    add_library(gatehouse_${name} INTERFACE)
    target_include_directories(gatehouse_${name} INTERFACE ${CMAKE_SOURCE_DIR})
    target_link_libraries(gatehouse_${name} INTERFACE ${ROOM_LINK})
    return()
  endif()
  add_library(gatehouse_${name} STATIC ${sources})
  target_include_directories(gatehouse_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(gatehouse_${name} PUBLIC ${ROOM_LINK})
  target_compile_definitions(gatehouse_${name} PRIVATE GATEHOUSE_VERSION="${PROJECT_VERSION}")
  # One precompiled header for all rooms with Asio, one for those without.
  if(ROOM_ASIO AND TARGET gatehouse_net)
    gatehouse_precompile(gatehouse_${name} gatehouse_net asio_pch.h)
  else()
    gatehouse_precompile(gatehouse_${name} gatehouse_base std_pch.h)
  endif()
endfunction()
