#include "daemon/diagnostic.h"

#include <algorithm>
#include <tuple>

#include "daemon/base/text.h"

namespace gatehouse::daemon {

namespace {

enum class Tabs : std::uint8_t { kKept, kEscaped };

/// What a terminal can show: escapes for control characters and for what is not UTF-8.
std::string printable(std::string_view text, Tabs tabs = Tabs::kKept) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text.front());
    std::size_t size = utf8_sequence_size(text);
    const bool is_control =
        byte == 0x7f || (byte < 0x20 && (byte != '\t' || tabs == Tabs::kEscaped)) ||
        (byte == 0xc2 && size == 2 && static_cast<unsigned char>(text[1]) < 0xa0);
    if (size == 0 || is_control) {
      size = std::max<std::size_t>(size, 1);
      for (const char c : text.substr(0, size)) out.append("\\x").append(to_hex({&c, 1}));
    } else {
      out.append(text.substr(0, size));
    }
    text.remove_prefix(size);
  }
  return out;
}

/// At most about `most` bytes, cut between characters.
std::string_view cut(std::string_view text, std::size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
  return text.substr(0, most);
}

/// The part of a long line around a column (JSON often is one line).
std::string excerpt(std::string_view line, std::uint32_t column) {
  constexpr std::size_t kWhole = 160, kBefore = 60, kShown = 120;
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() <= kWhole) return printable(line);
  std::size_t start = 0;
  for (std::uint32_t passed = 1; passed + kBefore < column && start < line.size(); ++passed)
    start += std::max<std::size_t>(utf8_sequence_size(line.substr(start, 4)), 1);
  line.remove_prefix(start);
  const std::string_view shown = cut(line, kShown);
  return (start > 0 ? "..." : "") + printable(shown) + (shown.size() < line.size() ? "..." : "");
}

}  // namespace

std::string format(const Diagnostic& diagnostic) {
  std::string out = diagnostic.file;
  const std::string line = std::to_string(diagnostic.mark.line);
  if (diagnostic.mark.line > 0)
    out.append(":").append(line).append(":").append(std::to_string(diagnostic.mark.column));
  out.append(diagnostic.is_warning ? ": warning: " : ": error: ");
  out.append(diagnostic.message).append("\n");
  if (!diagnostic.source_line.empty())
    out.append("  ").append(line).append(" | ").append(diagnostic.source_line).append("\n");
  if (!diagnostic.hint.empty()) out.append("  hint: ").append(diagnostic.hint).append("\n");
  return out;
}

namespace {
/// Remarks on the file as a whole come last.
auto place(const Diagnostic& diagnostic) {
  return std::tuple(diagnostic.mark.line == 0, diagnostic.mark.line, diagnostic.mark.column);
}
bool is_before(const Diagnostic& a, const Diagnostic& b) { return place(a) < place(b); }
}  // namespace

std::string format(const ConfigReport& report) {
  std::vector<const Diagnostic*> all;
  for (const Diagnostic& error : report.errors) all.push_back(&error);
  for (const Diagnostic& warning : report.warnings) all.push_back(&warning);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto* a, const auto* b) { return is_before(*a, *b); });
  std::string out;
  for (const Diagnostic* diagnostic : all) out += format(*diagnostic);
  return out;
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kShown = 80;
  const std::string_view shown = cut(text, kShown);
  return "\"" + printable(shown, Tabs::kEscaped) + (shown.size() < text.size() ? "...\"" : "\"");
}

void Findings::error(Mark mark, std::string message, std::string hint) {
  add(report_.errors, errors_left_out_,
      Diagnostic{false, file_, mark, std::move(message), {}, std::move(hint)});
}

void Findings::warn(Mark mark, std::string message, std::string hint) {
  add(report_.warnings, warnings_left_out_,
      Diagnostic{true, file_, mark, std::move(message), {}, std::move(hint)});
}

void Findings::add(std::vector<Diagnostic>& to, std::size_t& left_out, Diagnostic diagnostic) {
  if (to.size() >= kMost) {
    ++left_out;
    return;
  }
  const std::string identity = std::to_string(diagnostic.mark.line) + ":" +
                               std::to_string(diagnostic.mark.column) + ":" + diagnostic.message;
  if (!seen_.insert(identity).second) return;
  diagnostic.source_line = excerpt(line(diagnostic.mark.line), diagnostic.mark.column);
  to.push_back(std::move(diagnostic));
}

std::string_view Findings::line(std::uint32_t number) {
  if (line_starts_.empty()) {
    line_starts_.push_back(0);
    for (std::size_t i = 0; i < text_.size(); ++i)
      if (text_[i] == '\n') line_starts_.push_back(i + 1);
  }
  if (number == 0 || number > line_starts_.size()) return {};
  const std::string_view rest = text_.substr(line_starts_[number - 1]);
  return rest.substr(0, rest.find('\n'));
}

ConfigReport Findings::finish() {
  std::stable_sort(report_.errors.begin(), report_.errors.end(), is_before);
  std::stable_sort(report_.warnings.begin(), report_.warnings.end(), is_before);
  const auto tell = [&](bool is_warning, std::size_t count, std::vector<Diagnostic>& to) {
    if (count == 0) return;
    to.push_back(
        {is_warning, file_, Mark{}, std::to_string(count) + " more are not shown", {}, {}});
  };
  tell(false, errors_left_out_, report_.errors);
  tell(true, warnings_left_out_, report_.warnings);
  return std::move(report_);
}

}  // namespace gatehouse::daemon
