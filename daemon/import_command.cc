#include "daemon/import_command.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "daemon/certificate_files.h"
#include "store/account_store.h"
#include "store/database.h"

namespace gatehouse::daemon {

namespace {

constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2;

int fail(const Error& error, int status) {
  std::fprintf(stderr, "gatehouse: %s\n", error.message.c_str());
  return status;
}

/// Whose the state directory is. What root makes for the daemon has to be the daemon's.
struct Owner {
  uid_t user = 0;
  gid_t group = 0;
};

/// Nothing: we are not root, or the directory is root's, or not there yet.
std::optional<Owner> other_owner(const std::string& directory) {
  struct stat found {};
  if (::geteuid() != 0 || ::stat(directory.c_str(), &found) != 0 || found.st_uid == 0)
    return std::nullopt;
  return Owner{found.st_uid, found.st_gid};
}

/// Acts as that user while it lives, so that each file that SQLite makes is theirs from its start.
class ActingAs {
 public:
  static Result<ActingAs> begin(const std::optional<Owner>& owner) {
    ActingAs acting;
    if (!owner) return acting;
    acting.is_other_ = true;
    if (::setegid(owner->group) != 0 || ::seteuid(owner->user) != 0)
      return errno_error("acting as the owner of the state directory", errno);
    return acting;
  }
  ActingAs(ActingAs&& other) noexcept : is_other_(std::exchange(other.is_other_, false)) {}
  ActingAs& operator=(ActingAs&&) = delete;
  ~ActingAs() {
    if (is_other_) check(::seteuid(0) == 0 && ::setegid(0) == 0, "root may become root again");
  }

 private:
  ActingAs() = default;
  bool is_other_ = false;
};

/// The files of one import: new ones, which go again unless all of them are there.
class NewFiles {
 public:
  NewFiles() = default;
  NewFiles(const NewFiles&) = delete;
  NewFiles& operator=(const NewFiles&) = delete;
  ~NewFiles() {
    for (const std::string& path : made_) ::unlink(path.c_str());
  }

  /// One that is there is left alone, and an error.
  Result<void> add(const std::string& path, const std::string& text, mode_t mode,
                   const std::optional<Owner>& owner = std::nullopt) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file < 0) return errno_error(path, errno);
    made_.push_back(path);
    bool is_written = !owner || ::fchown(file, owner->user, owner->group) == 0;
    for (std::size_t done = 0; is_written && done < text.size();) {
      const auto count = ::write(file, text.data() + done, text.size() - done);
      is_written = count > 0;
      if (is_written) done += static_cast<std::size_t>(count);
    }
    const int why = errno;
    if (!is_written) {
      ::close(file);
      return errno_error(path, why);
    }
    if (::close(file) != 0) return errno_error(path, errno);
    return {};
  }
  void keep() { made_.clear(); }

 private:
  std::vector<std::string> made_;
};

Result<std::string> read_manifest(const std::string& name) {
  constexpr std::size_t kBytesMax = 16 * 1024 * 1024;
  if (name != "-") return read_file(name, kBytesMax);
  std::string text;
  char block[64 * 1024];
  while (const std::size_t count = std::fread(block, 1, sizeof block, stdin)) {
    text.append(block, count);
    if (text.size() > kBytesMax) return Error{Fault::kTooLarge, "stdin: too much"};
  }
  return text;
}

Result<void> keep_accounts(const std::vector<ImportedAccount>& imported,
                           const std::string& directory, const std::optional<Owner>& owner) {
  auto acting = ActingAs::begin(owner);
  if (!acting) return std::move(acting).error();
  const SystemClock clock;
  auto database = store::Database::open(store::Options{directory}, clock);
  if (!database) return std::move(database).error();
  std::vector<store::Account> accounts;
  for (const ImportedAccount& one : imported) {
    store::Account& account = accounts.emplace_back();
    account.directory = one.directory;
    account.email = one.email;
    account.key_pem = one.key_pem;
    account.created_at = clock.wall_now();
  }
  return store::add_accounts(**database, accounts);
}

/// What the configuration needs comes before it: one that is there is whole. `output` may be empty.
Result<void> deliver(const Imported& imported, const std::string& output,
                     const std::string& state) {
  const std::optional<Owner> owner = other_owner(state);
  const std::filesystem::path beside = std::filesystem::path(output).parent_path();
  NewFiles files;
  for (const ImportedFile& file : imported.files) {
    auto added = file.is_secret ? files.add(beside / file.name, file.text, 0600, owner)
                                : files.add(beside / file.name, file.text, 0644);
    if (!added) return std::move(added).error().in("nothing was written");
  }
  if (!imported.accounts.empty()) {
    auto kept = keep_accounts(imported.accounts, state, owner);
    if (!kept) return std::move(kept).error().in("nothing was written");
  }
  if (output.empty()) {
    std::fwrite(imported.config.data(), 1, imported.config.size(), stdout);
  } else if (auto added = files.add(output, imported.config, 0644); !added) {
    return std::move(added).error().in(imported.accounts.empty()
                                           ? "nothing was written"
                                           : "only keys of accounts were kept, in " + state);
  }
  files.keep();
  return {};
}

}  // namespace

int run_import(const ImportCommand& command) {
  std::vector<ManifestFile> files;
  for (const std::string& name : command.manifests) {
    auto text = read_manifest(name);
    if (!text) return fail(text.error(), kWrongUsage);
    files.push_back({name, std::move(*text)});
  }
  ImportOptions options = command.options;
  options.has_directory = !command.output.empty();
  std::error_code ignored;  // Of a directory that is not to be found: the name stays.
  const auto place = std::filesystem::absolute(options.state, ignored);
  if (!options.state.empty() && !place.empty()) options.state = place.lexically_normal();
  const Imported imported = import_manifests(files, options);
  for (const Diagnostic& error : imported.errors) std::fputs(format(error).c_str(), stderr);
  if (!imported.errors.empty()) return kWrongUsage;
  std::fputs((command.as_json ? report_json(imported) : format_report(imported)).c_str(), stderr);
  if (imported.config.empty()) {
    std::fputs("gatehouse: no Ingress, HTTPRoute or Certificate to make a site of\n", stderr);
    return kFailed;
  }
  const std::string state =
      options.state.empty() ? store::Options{}.state_directory : options.state;
  if (auto delivered = deliver(imported, command.output, state); !delivered)
    return fail(delivered.error(), kFailed);
  return imported.has_refused() ? kFailed : kDone;
}

}  // namespace gatehouse::daemon
