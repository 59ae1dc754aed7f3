#include "daemon/commands.h"

int main(int argc, char** argv) { return gatehouse::daemon::run_command_line(argc, argv); }
