#pragma once
// How much memory this process has, and how much it may have. Cheap to ask each second: one read of
// a file that stays open.

#include <cstddef>
#include <string>
#include <string_view>

namespace gatehouse {

/// The least of the machine's memory, the control groups' memory.max (version 2) above us, and the
/// limits of address space and data; or what the environment's GATEHOUSE_MEMORY_MAX says, in bytes.
/// `root` is for tests.
std::size_t process_memory_max(const std::string& root = "");

/// For a process that lives for months and is given a new configuration now and then. Large blocks
/// come from the system and go back to it whole (by itself malloc raises that bound with the first
/// that is freed, and what is left of one configuration then lies among the next one's); with one
/// loop all threads share an arena. To be called before there are threads.
void keep_memory_together(bool has_one_loop);

/// Gives free memory that malloc keeps back to the system. Takes milliseconds.
void give_back_memory();

class ProcessMemory {
 public:
  ProcessMemory();
  ~ProcessMemory();
  ProcessMemory(const ProcessMemory&) = delete;
  ProcessMemory& operator=(const ProcessMemory&) = delete;

  /// Resident bytes; 0 when the system does not say.
  std::size_t resident() const;

 private:
  int descriptor_;
};

}  // namespace gatehouse
