#pragma once
// The command line: `gatehouse COMMAND ...` to what it does, and to an exit status: 0 done,
// 1 failed, 2 wrong usage or configuration (DESIGN.md "Commands").

namespace gatehouse::daemon {

int run_command_line(int argc, char** argv);

}  // namespace gatehouse::daemon
