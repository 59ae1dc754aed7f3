#pragma once
// What is wrong with a configuration, as a person reads it (STYLE.md section 3): place, message,
// the line itself, a way out. Findings collects them while a file is read; nothing is printed here.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "daemon/yaml.h"

namespace gatehouse::daemon {

struct Diagnostic {
  bool is_warning = false;
  std::string file;
  Mark mark;  // line 0: the file as a whole
  std::string message;
  std::string source_line;  // printable, and cut when it is long
  std::string hint;         // may be empty
};

/// Sorted by place.
struct ConfigReport {
  std::vector<Diagnostic> errors, warnings;
};

/// "file:line:column: error: message", the line, the hint: each line with its newline.
std::string format(const Diagnostic& diagnostic);
/// All of a report in the order of the file.
std::string format(const ConfigReport& report);

/// In quotes for a message: cut when long, control characters escaped.
std::string in_quotes(std::string_view text);

/// Collects what is found in one file. The same finding at the same place counts once: aliases lead
/// to a place many times. Beyond kMost of a kind the rest is only counted.
class Findings {
 public:
  static constexpr std::size_t kMost = 1000;

  /// `text` outlives this.
  Findings(std::string file, std::string_view text) : file_(std::move(file)), text_(text) {}

  void error(Mark mark, std::string message, std::string hint = {});
  void warn(Mark mark, std::string message, std::string hint = {});
  bool has_errors() const { return !report_.errors.empty(); }
  /// No further error will be shown: its hint need not be worked out.
  bool is_full() const { return report_.errors.size() >= kMost; }

  /// Looking for what was meant costs time with every candidate: only the first errors get that.
  bool wants_guesses() const { return report_.errors.size() < 100; }

  /// The report; call once.
  ConfigReport finish();

 private:
  void add(std::vector<Diagnostic>& to, std::size_t& left_out, Diagnostic diagnostic);
  std::string_view line(std::uint32_t number);

  std::string file_;
  std::string_view text_;
  ConfigReport report_;
  std::unordered_set<std::string> seen_;
  std::size_t errors_left_out_ = 0, warnings_left_out_ = 0;
  std::vector<std::size_t> line_starts_;  // offsets, filled when the first line is shown
};

}  // namespace gatehouse::daemon
