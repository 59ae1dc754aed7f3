// The rules of STYLE.md marked (T): they keep the rooms apart or prevent a crash. Each rule is a
// function from source files to complaints ("file:line: rule"), tried on small bad examples first
// and then on the tree.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/source_file.h"

namespace gatehouse {

using testing::ElementsAre;
using testing::IsEmpty;
using Complaints = std::vector<std::string>;
using Files = std::vector<SourceFile>;

// ---- Rooms: who may include whom (section 1).

/// By folder, the folders it may include. The files directly in daemon/ are the roof: nobody
/// includes it but itself.
const std::map<std::string, std::set<std::string>>& rooms() {
  static const std::map<std::string, std::set<std::string>> rooms = [] {
    const std::set<std::string> base{"daemon/base"};
    const auto with = [](std::set<std::string> all, std::set<std::string> more) {
      all.merge(more);
      return all;
    };
    const auto net = with(base, {"daemon/net"});
    const auto store = with(net, {"store"});
    const auto acme = with(store, {"acme"});
    // Of proxy/ itself a sub-room sees the options alone (see room_of).
    const auto protocol = with(base, {"proxy/protocol", "proxy/options.h"});
    const auto routing = with(net, {"proxy/protocol", "proxy/routing", "proxy/options.h"});
    const auto connection = with(routing, {"proxy/connection"});
    const auto proxy = with(connection, {"proxy"});
    const auto roof = with(with(acme, proxy), {"daemon"});
    return std::map<std::string, std::set<std::string>>{{"daemon/base", base},
                                                        {"daemon/net", net},
                                                        {"store", store},
                                                        {"acme", acme},
                                                        {"proxy/protocol", protocol},
                                                        {"proxy/routing", routing},
                                                        {"proxy/connection", connection},
                                                        {"proxy", proxy},
                                                        {"proxy/options.h", net},
                                                        {"daemon", roof}};
  }();
  return rooms;
}

std::string room_of(const std::string& path) {
  if (path == "proxy/options.h") return path;
  return path.substr(0, path.rfind('/'));
}

Complaints include_direction(const Files& files) {
  Complaints complaints;
  std::set<std::string> known;
  for (const SourceFile& file : files) known.insert(file.path);
  for (const SourceFile& file : files) {
    const auto room = rooms().find(room_of(file.path));
    if (room == rooms().end()) {
      complaints.push_back(file.path + ":1: is in no room (section 1)");
      continue;
    }
    for (const auto& include : file.includes()) {
      if (!include.is_ours) continue;
      if (!known.contains(include.target)) {
        complaints.push_back(file.where(include.position) + ": includes \"" + include.target +
                             "\", which is not a path from the root (section 2)");
      } else if (!room->second.contains(room_of(include.target))) {
        complaints.push_back(file.where(include.position) + ": " + room->first +
                             " may not include " + room_of(include.target) + " (section 1)");
      }
    }
  }
  return complaints;
}

Complaints header_cycles(const Files& files) {
  std::map<std::string, const SourceFile*> by_path;
  for (const SourceFile& file : files) by_path[file.path] = &file;
  Complaints complaints;
  std::set<std::string> done;
  std::vector<std::string> trail;
  std::function<void(const SourceFile&)> visit = [&](const SourceFile& file) {
    if (done.contains(file.path)) return;
    trail.push_back(file.path);
    for (const auto& include : file.includes()) {
      const auto target = by_path.find(include.target);
      if (!include.is_ours || target == by_path.end()) continue;
      const auto seen = std::find(trail.begin(), trail.end(), include.target);
      if (seen != trail.end()) {
        std::string cycle = file.where(include.position) + ": header cycle (section 1):";
        for (auto step = seen; step != trail.end(); ++step) cycle += " " + *step + " ->";
        complaints.push_back(cycle + " " + include.target);
      } else {
        visit(*target->second);
      }
    }
    trail.pop_back();
    done.insert(file.path);
  };
  for (const SourceFile& file : files) visit(file);
  return complaints;
}

/// What does no I/O includes nothing that could: base, and the pure sub-rooms of proxy. In proxy
/// only connection/ and the .cc files on top touch Asio; Beast has no business there at all.
Complaints purity(const Files& files) {
  static const std::regex io(
      "^boost/(asio|beast)|^sys/(socket|epoll|un)\\.h$|^netinet/|^netdb\\.h");
  static const std::regex tls("^openssl/");
  static const std::regex asio("^boost/asio");
  static const std::regex beast("^boost/beast");
  Complaints complaints;
  for (const SourceFile& file : files) {
    const std::string& path = file.path;
    const bool is_pure = path.starts_with("daemon/base/") || path.starts_with("proxy/protocol/") ||
                         path.starts_with("proxy/routing/");
    const bool is_proxy_top = path.starts_with("proxy/") && file.folder() == "proxy";
    for (const auto& include : file.includes()) {
      const bool is_bad =
          (is_pure &&
           (std::regex_search(include.target, io) || std::regex_search(include.target, tls))) ||
          (is_proxy_top && file.is_header() && std::regex_search(include.target, asio)) ||
          (path.starts_with("proxy/") && std::regex_search(include.target, beast));
      if (is_bad)
        complaints.push_back(file.where(include.position) + ": <" + include.target +
                             "> has no place here (section 1)");
    }
  }
  return complaints;
}

// ---- Patterns that end in crashes.

Complaints matches(const SourceFile& file, const std::regex& pattern, std::string_view rule) {
  Complaints complaints;
  for (std::sregex_iterator match(file.bare.begin(), file.bare.end(), pattern), end; match != end;
       ++match)
    complaints.push_back(file.where(static_cast<std::size_t>(match->position())) + ": " +
                         std::string(rule));
  return complaints;
}

/// Result::value() throws. Error codes, header fields and metrics have a value() that does not:
/// they are known by their names.
Complaints value_calls(const SourceFile& file) {
  static const std::regex call(R"((\w+|[)\]])\s*(\.|->)\s*value\s*\(\s*\))");
  static const std::set<std::string> harmless{"error",  "failed",  "code",  "field",
                                              "header", "counter", "gauge", "sum"};
  Complaints complaints;
  for (std::sregex_iterator match(file.bare.begin(), file.bare.end(), call), end; match != end;
       ++match)
    if (!harmless.contains((*match)[1].str()))
      complaints.push_back(file.where(static_cast<std::size_t>(match->position())) +
                           ": .value() throws; test the Result, then use * (section 3)");
  return complaints;
}

/// Shared objects are immutable snapshots. The exceptions are OpenSSL's own: contexts and keys that
/// its reference counts would share anyway, and that each connection keeps until its end; a Lookup
/// of the HTTPS client, whose answer may come when nobody waits for it any more; and the commons of
/// a backend, which loops count in together and whose last user may be on any of them.
Complaints shared_ownership(const SourceFile& file) {
  static const std::regex pointer(R"(\b(shared|weak)_ptr\s*<\s*(?!const\b)([\w:]+))");
  static const std::regex from_this(R"(\b(shared|weak|enable_shared)_from_this\b)");
  static const std::set<std::string> allowed{"EVP_PKEY",         "TicketKeys", "ServerTlsContext",
                                             "ClientTlsContext", "Lookup",     "BackendCommons"};
  Complaints complaints = matches(file, from_this, "no shared_from_this (section 4)");
  for (std::sregex_iterator match(file.bare.begin(), file.bare.end(), pointer), end; match != end;
       ++match) {
    std::string type = (*match)[2];
    type = type.substr(type.rfind(':') + 1);
    if (!allowed.contains(type))
      complaints.push_back(file.where(static_cast<std::size_t>(match->position())) +
                           ": shared_ptr is for const snapshots, not for " + type + " (section 4)");
  }
  return complaints;
}

/// void* is for the callbacks of C libraries, each in its own files: nghttp2, OpenSSL, SQLite,
/// c-ares.
Complaints void_pointers(const SourceFile& file) {
  static const std::regex allowed(
      "^(proxy/protocol/http2_session\\w*|proxy/connection/tls_engine|daemon/net/tls_context|"
      "daemon/net/tls_bio|daemon/net/resolver|store/database)\\.(h|cc)$");
  static const std::regex pointer(R"(\bvoid\s*(const\s*)?\*)");
  if (std::regex_match(file.path, allowed)) return {};
  return matches(file, pointer, "void* is for the callbacks of C libraries (section 4)");
}

// ---- Temporaries of a co_await statement (section 5): GCC 12 destroys them twice. Conditions with
// a co_await: GCC 12 makes code of them that crashes, unless they declare what they await.

bool is_open(char c) { return c == '(' || c == '[' || c == '{'; }
bool is_close(char c) { return c == ')' || c == ']' || c == '}'; }

std::size_t matching_close(const std::string& text, std::size_t open) {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (is_open(text[i])) ++depth;
    if (is_close(text[i]) && --depth == 0) return i;
  }
  return text.size();
}

std::size_t matching_open(const std::string& text, std::size_t close) {
  int depth = 0;
  for (std::size_t i = close + 1; i > 0; --i) {
    if (is_close(text[i - 1])) ++depth;
    if (is_open(text[i - 1]) && --depth == 0) return i - 1;
  }
  return 0;
}

char last_before(const std::string& text, std::size_t position) {
  while (position > 0 && std::isspace(static_cast<unsigned char>(text[position - 1]))) --position;
  return position > 0 ? text[position - 1] : '\0';
}

std::size_t skip_space(const std::string& text, std::size_t position) {
  while (position < text.size() && std::isspace(static_cast<unsigned char>(text[position])))
    ++position;
  return position;
}

/// Where the full expression around a position begins and must end at the latest.
struct Expression {
  std::size_t begin, limit;
  std::string keyword;  // not empty: it is the condition of this statement
};

/// It begins behind the ; { or } before it (a } that the expression goes on behind is part of it);
/// the condition of an if, while, for or switch is an expression of its own.
Expression expression_around(const std::string& text, std::size_t position) {
  std::size_t begin = position;
  for (; begin > 0; --begin) {
    const char c = text[begin - 1];
    if (c == ';' || c == '{') break;
    if (!is_close(c)) continue;
    const std::size_t next = skip_space(text, begin);
    const bool goes_on =
        next < text.size() && std::string_view(",).").find(text[next]) != std::string_view::npos;
    if (c == '}' && !goes_on) break;
    begin = matching_open(text, begin - 1) + 1;
  }
  static const std::regex header(R"(^\s*(else\s+)?(if|while|for|switch)\s*(constexpr\s*)?\()");
  std::smatch found;
  const std::string statement = text.substr(begin, position - begin);
  if (!std::regex_search(statement, found, header)) return {begin, text.size(), ""};
  const std::size_t open = begin + static_cast<std::size_t>(found.length()) - 1;
  const std::size_t close = matching_close(text, open);
  if (position < close) return {open + 1, close, found[2]};
  return {close + 1, text.size(), ""};
}

/// Whether the word before `position` is a type that an expression makes a temporary of: Type{...}
/// behind ( , = & | ? : or return, and not "Type name{", which declares a variable.
bool is_temporary(const std::string& text, std::size_t position) {
  std::size_t begin = position;
  int angles = 0;
  while (begin > 0) {
    const char c = text[begin - 1];
    if (c == '>') ++angles;
    if (c == '<') --angles;
    if (angles == 0 && !std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != ':' &&
        c != '<')
      break;
    --begin;
  }
  const char before = last_before(text, begin);
  return std::string_view("(,=&|?:!<>+-").find(before) != std::string_view::npos ||
         text.substr(0, begin).ends_with("co_await ") || text.substr(0, begin).ends_with("return ");
}

/// Looks through one statement for what must be named first. Bodies of lambdas are statements of
/// their own.
void complain_about_temporaries(const SourceFile& file, std::size_t begin, std::size_t limit,
                                std::size_t from, Complaints& complaints) {
  const std::string& text = file.bare;
  const auto complain = [&](std::size_t at, std::string_view what) {
    complaints.push_back(file.where(at) + ": a " + std::string(what) +
                         " in a co_await statement; name it first, then move (section 5)");
  };
  int depth = 0;
  for (std::size_t i = begin; i < limit; ++i) {
    const char c = text[i];
    const char before = last_before(text, i);
    if (c == '(') ++depth;
    if (c == ')') --depth;
    if (i >= from && depth <= 0 && c == ';') return;
    if (c == '[') {
      const std::size_t close = matching_close(text, i);
      const bool is_attribute = i + 1 < text.size() && text[i + 1] == '[';
      const bool is_subscript = std::isalnum(static_cast<unsigned char>(before)) || before == '_' ||
                                before == ')' || before == ']';
      const bool is_binding = text.substr(begin, i - begin).find("auto") != std::string::npos &&
                              depth == 0 && text[skip_space(text, close + 1)] == '=';
      if (!is_attribute && !is_subscript && !is_binding && skip_space(text, i + 1) < close)
        complain(i, "capturing lambda");
      i = close;
    } else if (c == '{') {
      const bool is_body =
          before == ')' || before == ']' || text.substr(begin, i - begin).ends_with("mutable ");
      if (!is_body && (before == '(' || before == ',' || is_temporary(text, i)))
        complain(i, "brace-initialised temporary");
      i = matching_close(text, i);
    }
  }
}

Complaints co_await_temporaries(const SourceFile& file) {
  static const std::regex word("\\bco_await\\b");
  static const std::regex declaration(R"([\w>&*]\s+\w+\s*=\s*$)");
  Complaints complaints;
  std::set<std::size_t> seen;
  for (std::sregex_iterator match(file.bare.begin(), file.bare.end(), word), end; match != end;
       ++match) {
    const auto position = static_cast<std::size_t>(match->position());
    const Expression around = expression_around(file.bare, position);
    const std::string before = file.bare.substr(around.begin, position - around.begin);
    if (!around.keyword.empty() && around.keyword != "for" &&
        !std::regex_search(before, declaration))
      complaints.push_back(file.where(position) + ": a co_await in the condition of " +
                           around.keyword + "; name its answer first (section 5)");
    if (seen.insert(around.begin).second)
      complain_about_temporaries(file, around.begin, around.limit, position, complaints);
  }
  return complaints;
}

// ---- The rules find what they are for.

Files tree_of(const std::vector<std::pair<std::string, std::string>>& given) {
  Files files;
  for (const auto& [path, text] : given) files.emplace_back(path, text);
  return files;
}

TEST(TidyRules, AnIncludeGoesDownward) {
  const auto complaints_of = [](const std::string& from, const std::string& to) {
    return include_direction(tree_of({{from, "\n#include \"" + to + "\"\n"}, {to, ""}})).size();
  };
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"daemon/base/a.h", "daemon/net/b.h"},
           {"daemon/net/a.h", "store/b.h"},
           {"store/a.h", "acme/b.h"},
           {"store/a.h", "proxy/b.h"},
           {"acme/a.h", "proxy/b.h"},
           {"proxy/a.h", "acme/b.h"},
           {"proxy/a.h", "store/b.h"},
           {"proxy/protocol/a.h", "proxy/routing/b.h"},
           {"proxy/protocol/a.h", "daemon/net/b.h"},
           {"proxy/routing/a.h", "proxy/connection/b.h"},
           {"proxy/connection/a.h", "proxy/b.h"},
           {"acme/a.h", "daemon/config.h"},
           {"daemon/net/a.h", "daemon/config.h"},
           {"daemon/base/a.h", "proxy/options.h"}})
    EXPECT_EQ(complaints_of(from, to), 1u) << from << " -> " << to;
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"daemon/net/a.h", "daemon/base/b.h"},
           {"acme/a.h", "store/b.h"},
           {"proxy/a.cc", "proxy/connection/b.h"},
           {"proxy/connection/a.h", "proxy/routing/b.h"},
           {"proxy/protocol/a.h", "proxy/options.h"},
           {"proxy/options.h", "daemon/net/b.h"},
           {"daemon/main.cc", "acme/b.h"},
           {"daemon/a.cc", "daemon/b.h"}})
    EXPECT_EQ(complaints_of(from, to), 0u) << from << " -> " << to;
}

TEST(TidyRules, AnIncludeIsAPathFromTheRoot) {
  EXPECT_THAT(include_direction(tree_of({{"acme/a.cc", "// x\n#include \"a.h\"\n"}})),
              ElementsAre("acme/a.cc:2: includes \"a.h\", which is not a path from the root "
                          "(section 2)"));
}

TEST(TidyRules, HeadersDoNotGoInCircles) {
  const Files files = tree_of({{"acme/a.h", "#include \"acme/b.h\"\n"},
                               {"acme/b.h", "\n#include \"acme/c.h\"\n"},
                               {"acme/c.h", "#include \"acme/b.h\"\n"}});
  EXPECT_THAT(
      header_cycles(files),
      ElementsAre("acme/c.h:1: header cycle (section 1): acme/b.h -> acme/c.h -> acme/b.h"));
}

TEST(TidyRules, PureRoomsDoNoIo) {
  const auto complaints_of = [](const std::string& path, const std::string& header) {
    return purity(tree_of({{path, "#include <" + header + ">\n"}})).size();
  };
  EXPECT_EQ(complaints_of("daemon/base/a.h", "boost/asio/post.hpp"), 1u);
  EXPECT_EQ(complaints_of("daemon/base/a.h", "openssl/ssl.h"), 1u);
  EXPECT_EQ(complaints_of("proxy/protocol/a.cc", "sys/socket.h"), 1u);
  EXPECT_EQ(complaints_of("proxy/routing/a.cc", "boost/asio.hpp"), 1u);
  EXPECT_EQ(complaints_of("proxy/a.h", "boost/asio/io_context.hpp"), 1u);
  EXPECT_EQ(complaints_of("proxy/connection/a.cc", "boost/beast/http.hpp"), 1u);
  EXPECT_EQ(complaints_of("proxy/a.cc", "boost/asio/io_context.hpp"), 0u);
  EXPECT_EQ(complaints_of("proxy/connection/a.h", "sys/socket.h"), 0u);
  EXPECT_EQ(complaints_of("daemon/net/a.h", "boost/asio/post.hpp"), 0u);
}

TEST(TidyRules, NobodyTakesTheValueOfAResult) {
  const auto complaints_of = [](const std::string& code) {
    return value_calls(SourceFile("acme/a.cc", code)).size();
  };
  EXPECT_EQ(complaints_of("auto x = chain.value();"), 1u);
  EXPECT_EQ(complaints_of("auto x = load(y).value();"), 1u);
  EXPECT_EQ(complaints_of("auto x = chain->value ( );"), 1u);
  EXPECT_EQ(complaints_of("auto x = std::move(chain).value();"), 1u);
  EXPECT_EQ(complaints_of("return errno_error(\"x\", error.value());"), 0u);
  EXPECT_EQ(complaints_of("// chain.value()\nsay(\"chain.value()\");"), 0u);
  EXPECT_EQ(complaints_of("double value() const { return value_; }"), 0u);
}

TEST(TidyRules, SharedObjectsAreConst) {
  const auto complaints_of = [](const std::string& code) {
    return shared_ownership(SourceFile("acme/a.cc", code)).size();
  };
  EXPECT_EQ(complaints_of("std::shared_ptr<Order> order;"), 1u);
  EXPECT_EQ(complaints_of("std::weak_ptr<acme::Order> order;"), 1u);
  EXPECT_EQ(complaints_of("class A : public std::enable_shared_from_this<A>"), 1u);
  EXPECT_EQ(complaints_of("auto self = shared_from_this();"), 1u);
  EXPECT_EQ(complaints_of("std::shared_ptr<const Order> a; std::weak_ptr<const bool> b;"), 0u);
  EXPECT_EQ(complaints_of("std::shared_ptr<net::TicketKeys> keys;"), 0u);
}

TEST(TidyRules, VoidPointersStayWhereCLibrariesAre) {
  EXPECT_THAT(void_pointers(SourceFile("acme/a.cc", "\nvoid f(void *x);")),
              ElementsAre("acme/a.cc:2: void* is for the callbacks of C libraries (section 4)"));
  EXPECT_EQ(void_pointers(SourceFile("acme/a.cc", "const void* x; void const* y;")).size(), 2u);
  EXPECT_THAT(void_pointers(SourceFile("store/database.cc", "void* x;")), IsEmpty());
  EXPECT_THAT(void_pointers(SourceFile("acme/a.cc", "void f(int* x); avoid *y;")), IsEmpty());
}

TEST(TidyRules, CoAwaitHasNoTemporariesThatGccDestroysTwice) {
  const auto complaints_of = [](const std::string& code) {
    return co_await_temporaries(SourceFile("acme/a.cc", "void f() {\n" + code + "\n}")).size();
  };
  for (const char* bad :
       {"co_await post(Order{1});", "auto r = co_await post(x, Order{.a = 1});",
        "co_await post({1, 2});", "co_await post(x, {.a = 1});",
        "co_await run([this] { work(); });", "co_await run([&](int x) mutable { work(x); });",
        "auto x = co_await run([y = std::move(z)] { return y; });",
        "if (co_await post(x)) { a(); }", "while (!co_await run(x)) b();",
        "switch (co_await kind()) { case 1: break; }", "else if (a && co_await b()) c();",
        "for (auto x = co_await get(Order{1});;) {}", "co_return co_await post(acme::Order{});",
        "f(Order{1}, co_await g());", "co_await post(std::vector<int>{1});",
        "if (a) co_await post(Order{1});"})
    EXPECT_EQ(complaints_of(bad), 1u) << bad;
  for (const char* good :
       {"Order order{1}; co_await post(std::move(order));",
        "auto job = [this] { work(); }; co_await run(job);",
        "auto [error, size] = co_await read(x);", "const auto& [a, b] = co_await read(x);",
        "if (const auto y = co_await post(x); y) { Order order{1}; }",
        "Order order{co_await get()};", "co_await run([] { return 1; });",
        "f(items[3], co_await g(map[key]));",
        "for (;;) { if (a) { co_await b(); } auto c = [this] {}; }",
        "auto c = [this]() -> awaitable<void> { co_await b(); Order d{1}; };",
        "const int k = co_await kind(); switch (k) { case 1: return {1}; }",
        "co_await b();\n  Order order{1};\n  post(Order{2});",
        "const bool x = co_await a(); return x ? Order{1} : Order{2};",
        "if (!a) co_return failure_of(co_await b());", "if (a) co_await b(); Order order{1};",
        "else if (auto* a = co_await b()) { f(Order{1}); }"})
    EXPECT_EQ(complaints_of(good), 0u) << good;
}

TEST(SourceFileBlanking, KeepsPlacesAndDropsCommentsAndLiterals) {
  const SourceFile file("a.cc",
                        "a /* b\n */ c // d\n\"e \\\" //\" 'f' 1'000 '\"' R\"x(g)\" )x\" h\n");
  EXPECT_EQ(file.code.find('d'), std::string::npos);
  EXPECT_NE(file.code.find('e'), std::string::npos);
  EXPECT_EQ(file.bare.find('e'), std::string::npos);
  EXPECT_EQ(file.bare.find('f'), std::string::npos);
  EXPECT_EQ(file.bare.find('g'), std::string::npos);
  EXPECT_NE(file.bare.find("1'000"), std::string::npos);
  EXPECT_EQ(file.where(file.bare.find('h')), "a.cc:3");
}

// ---- The tree keeps the rules.

class Tree : public testing::Test {
 protected:
  static const Files& files() {
    static const Files files =
        read_sources(GATEHOUSE_SOURCE_DIR, {"daemon", "store", "acme", "proxy"});
    return files;
  }
  static Complaints each(Complaints (*rule)(const SourceFile&)) {
    Complaints all;
    for (const SourceFile& file : files())
      for (const std::string& complaint : rule(file)) all.push_back(complaint);
    return all;
  }
  static void expect_none(const Complaints& complaints) {
    for (const std::string& complaint : complaints) ADD_FAILURE() << complaint;
  }
};

TEST_F(Tree, IsThere) { EXPECT_GT(files().size(), 20u); }
TEST_F(Tree, IncludesDownward) { expect_none(include_direction(files())); }
TEST_F(Tree, HasNoHeaderCycles) { expect_none(header_cycles(files())); }
TEST_F(Tree, KeepsPureRoomsPure) { expect_none(purity(files())); }
TEST_F(Tree, TakesNoValueOfAResult) { expect_none(each(value_calls)); }
TEST_F(Tree, SharesOnlyWhatIsConst) { expect_none(each(shared_ownership)); }
TEST_F(Tree, KeepsVoidPointersWhereTheyBelong) { expect_none(each(void_pointers)); }
TEST_F(Tree, NamesTheTemporariesOfCoAwait) { expect_none(each(co_await_temporaries)); }

}  // namespace gatehouse
