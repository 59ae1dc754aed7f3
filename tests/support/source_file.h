#pragma once
// Source files as the tidy test sees them: with comments blanked out (`code`), and with the
// contents of string and character literals blanked out too (`bare`), each byte and line in its
// place.

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace gatehouse {

struct SourceFile {
  std::string path;  // from the root of the tree
  std::string code;  // without comments
  std::string bare;  // without comments and literals

  SourceFile(std::string given_path, const std::string& text)
      : path(std::move(given_path)), code(text), bare(text) {
    blank();
  }

  bool is_header() const { return path.ends_with(".h"); }
  std::string folder() const { return path.substr(0, path.rfind('/')); }
  std::string where(std::size_t position) const {
    std::size_t line = 1;
    for (std::size_t i = 0; i < position; ++i) line += bare[i] == '\n';
    return path + ":" + std::to_string(line);
  }

  struct Include {
    std::string target;
    bool is_ours;  // in quotes
    std::size_t position;
  };
  std::vector<Include> includes() const {
    std::vector<Include> found;
    std::istringstream lines(code);
    std::size_t position = 0;
    for (std::string line; std::getline(lines, line); position += line.size() + 1) {
      const std::size_t hash = line.find_first_not_of(" \t");
      if (hash == std::string::npos || line[hash] != '#') continue;
      const std::size_t word = line.find("include", hash);
      const std::size_t open = line.find_first_of("\"<", hash);
      if (word == std::string::npos || open == std::string::npos) continue;
      const bool is_ours = line[open] == '"';
      const std::size_t close = line.find(is_ours ? '"' : '>', open + 1);
      found.push_back({line.substr(open + 1, close - open - 1), is_ours, position});
    }
    return found;
  }

 private:
  void blank() {
    std::size_t i = 0;
    const auto erase = [](std::string& text, std::size_t from, std::size_t to) {
      for (std::size_t at = from; at < to && at < text.size(); ++at)
        if (text[at] != '\n') text[at] = ' ';
    };
    while (i < code.size()) {
      const std::string_view rest = std::string_view(code).substr(i);
      std::size_t end = i + 1;
      if (rest.starts_with("//") || rest.starts_with("/*")) {
        const bool is_line = rest[1] == '/';
        end = code.find(is_line ? "\n" : "*/", i + 2);
        end = end == std::string::npos ? code.size() : end + (is_line ? 0 : 2);
        erase(code, i, end);
        erase(bare, i, end);
      } else if (rest.starts_with("R\"")) {
        const std::size_t open = code.find('(', i);
        const std::string close = ")" + code.substr(i + 2, open - i - 2) + "\"";
        end = code.find(close, open);
        end = end == std::string::npos ? code.size() : end + close.size();
        erase(bare, i + 2, end - 1);
      } else if (rest[0] == '"' || (rest[0] == '\'' && !is_digit_separator(i))) {
        while (end < code.size() && code[end] != rest[0]) end += code[end] == '\\' ? 2 : 1;
        erase(bare, i + 1, end);
        ++end;
      }
      i = end;
    }
  }
  bool is_digit_separator(std::size_t at) const {
    return at > 0 && std::isxdigit(static_cast<unsigned char>(code[at - 1]));
  }
};

/// All .h and .cc files below the folders, sorted by path.
inline std::vector<SourceFile> read_sources(const std::filesystem::path& root,
                                            const std::vector<std::string>& folders) {
  std::vector<std::string> paths;
  for (const std::string& folder : folders) {
    std::error_code failed;
    std::filesystem::recursive_directory_iterator entries(root / folder, failed);
    if (failed) continue;
    for (const auto& entry : entries) {
      const auto extension = entry.path().extension();
      if (extension == ".h" || extension == ".cc")
        paths.push_back(std::filesystem::relative(entry.path(), root).generic_string());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<SourceFile> files;
  for (const std::string& path : paths) {
    std::ifstream in(root / path, std::ios::binary);
    files.emplace_back(path, std::string(std::istreambuf_iterator<char>(in), {}));
  }
  return files;
}

}  // namespace gatehouse
