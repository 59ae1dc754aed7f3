#pragma once
// Places where a test may kill the process as kill -9 would: between a step that was written down
// and the step itself. Compiled in only with GATEHOUSE_KILL_POINTS (the debug preset); there the
// environment variable GATEHOUSE_KILL_AT=NAME or NAME:COUNT names the place (and which passage).

#include <string_view>

namespace gatehouse {

#ifdef GATEHOUSE_KILL_POINTS
void kill_point(std::string_view name);
#else
inline void kill_point(std::string_view) {}
#endif

}  // namespace gatehouse
