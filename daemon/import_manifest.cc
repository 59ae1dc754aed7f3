#include "daemon/import_manifest.h"

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "daemon/diagnostic.h"

namespace gatehouse::daemon {

namespace {

std::string path_of(const std::string& parent, std::string_view key) {
  const auto is_plain = [](char c) { return is_alpha(c) || is_digit(c) || c == '-' || c == '_'; };
  if (key.empty() || !std::all_of(key.begin(), key.end(), is_plain))
    return parent + "[" + in_quotes(key) + "]";
  return (parent.empty() ? "" : parent + ".") + std::string(key);
}

std::string path_of(const std::string& parent, std::size_t index) {
  return parent + "[" + std::to_string(index) + "]";
}

YamlNode child(YamlNode node, std::string_view key) {
  if (!node || !node.is_mapping()) return {};
  for (std::size_t i = 0; i < node.size(); ++i)
    if (node.key(i).text() == key) return node.value(i);
  return {};
}

std::string text_of(YamlNode node) {
  return node && node.is_scalar() && !node.is_null() ? std::string(node.text()) : std::string();
}

}  // namespace

std::string_view to_string(Fate fate) {
  switch (fate) {
    case Fate::kUsed: return "used";
    case Fate::kTranslated: return "translated";
    case Fate::kDropped: return "dropped";
    case Fate::kRefused: return "refused";
  }
  return "";
}

bool is_cluster_scoped(std::string_view kind) {
  return kind == "ClusterIssuer" || kind == "Namespace" || kind == "GatewayClass" ||
         kind == "IngressClass" || kind == "ClusterRole" || kind == "ClusterRoleBinding";
}

std::string one_line(std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return out;
}

// ---- Item -------------------------------------------------------------------------------------

Item Item::at(std::string_view key) const {
  const YamlNode found = child(node_, key);
  return found ? Item(manifest_, path_of(path_, key), {}, found) : Item();
}

std::vector<Item> Item::items() const {
  std::vector<Item> all;
  if (!*this || !node_.is_sequence()) return all;
  for (std::size_t i = 0; i < node_.size(); ++i)
    all.push_back(Item(manifest_, path_of(path_, i), {}, node_.item(i)));
  return all;
}

std::vector<Item> Item::entries() const {
  std::vector<Item> all;
  if (!is_mapping()) return all;
  for (std::size_t i = 0; i < node_.size(); ++i) {
    const std::string_view key = node_.key(i).text();
    all.push_back(Item(manifest_, path_of(path_, key), key, node_.value(i)));
  }
  return all;
}

std::string_view Item::text() const {
  return *this && node_.is_scalar() ? node_.text() : std::string_view();
}

void Item::judge(Fate fate, std::string why) const {
  if (manifest_ == nullptr) return;
  auto& verdict = manifest_->verdicts_[path_];
  if (verdict.fate == Fate::kRefused) return;  // The worst that was said stays.
  verdict = {fate, std::move(why)};
}

void Item::judge_all(Fate fate, std::string why) const {
  if (manifest_ == nullptr) return;
  std::erase_if(manifest_->verdicts_, [&](const auto& entry) {
    const auto& [path, verdict] = entry;
    const bool is_below =
        path_.empty() || (path.size() > path_.size() && path.starts_with(path_) &&
                          (path[path_.size()] == '.' || path[path_.size()] == '['));
    return is_below && verdict.fate != Fate::kRefused;
  });
  judge(fate, std::move(why));
}

// ---- Manifest ---------------------------------------------------------------------------------

Manifest::Manifest(std::string file, YamlNode root) : file_(std::move(file)), root_(root) {
  const std::string version = text_of(child(root_, "apiVersion"));
  const auto slash = version.find('/');
  if (slash != version.npos) group_ = version.substr(0, slash);
  kind_ = text_of(child(root_, "kind"));
  const YamlNode items = child(root_, "items");
  is_list_ = kind_.ends_with("List") && items && items.is_sequence();
  name_ = text_of(child(child(root_, "metadata"), "name"));
  namespace_ = text_of(child(child(root_, "metadata"), "namespace"));
  if (namespace_.empty()) namespace_ = "default";
  judge_usual();
}

void Manifest::judge_usual() {
  const Item metadata = root().at("metadata");
  root().at("apiVersion").used();
  root().at("kind").used();
  root().at("status").dropped("what the cluster said of it, not what is wanted");
  metadata.dropped("only for Kubernetes");
  metadata.at("annotations").dropped("an annotation that nothing here acts on");
  metadata.at("name").used();
  if (is_cluster_scoped(kind_))
    metadata.at("namespace").dropped("a " + kind_ + " belongs to no namespace");
  else
    metadata.at("namespace").used();
  if (is_list_) root().dropped("only holds the objects");
}

std::string Manifest::title() const {
  const std::string kind = kind_.empty() ? "object" : kind_;
  if (is_list_) return kind;
  return kind + " " + (is_cluster_scoped(kind_) ? "" : namespace_ + "/") +
         (name_.empty() ? "(no name)" : name_);
}

std::string Manifest::origin() const { return file_ + ":" + std::to_string(root_.mark().line); }

void Manifest::report(std::vector<ImportedField>& into) const {
  report(root_, {}, {Fate::kDropped, "not known here"}, into);
}

void Manifest::report(YamlNode node, const std::string& path, const Verdict& inherited,
                      std::vector<ImportedField>& into) const {
  if (is_list_ && path == "items") return;
  const auto own = verdicts_.find(path);
  const Verdict& verdict = own == verdicts_.end() ? inherited : own->second;
  if (!node.is_scalar() && node.size() > 0) {
    for (std::size_t i = 0; i < node.size(); ++i) {
      if (node.is_mapping())
        report(node.value(i), path_of(path, node.key(i).text()), verdict, into);
      else
        report(node.item(i), path_of(path, i), verdict, into);
    }
    return;
  }
  // Manifests are text from strangers, and what is said of them is read on a terminal.
  into.push_back(
      {file_, node.mark(), verdict.fate, one_line(title()), path, one_line(verdict.why)});
}

}  // namespace gatehouse::daemon
