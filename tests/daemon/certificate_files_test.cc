#include "daemon/certificate_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "daemon/file_watch.h"
#include "tests/support/certificates.h"
#include "tests/support/temporary_directory.h"

namespace gatehouse::daemon {
namespace {

class CertificateFilesTest : public testing::Test {
 protected:
  /// Puts a fresh certificate into the files; by renaming, as tools that know do.
  void write(const std::string& name, const net::Credential& credential) {
    replace(chain(name), credential.chain.to_pem());
    replace(key(name), *credential.key.to_pem());
  }
  static void replace(const std::string& path, const std::string& content) {
    std::ofstream(path + ".new") << content;
    std::filesystem::rename(path + ".new", path);
  }
  std::string chain(const std::string& name) const { return directory_ / (name + ".pem"); }
  std::string key(const std::string& name) const { return directory_ / (name + ".key"); }
  net::CredentialPtr fresh() const { return net::testing::issue(authority_, {"a.test"}); }
  std::optional<FileCertificate> find(CertificateFiles& files, const std::string& name) const {
    return files.find(name, chain(name), key(name));
  }

  TemporaryDirectory directory_;
  net::testing::Authority authority_ = net::testing::make_authority();
};

TEST_F(CertificateFilesTest, AreReadAndTold) {
  const auto written = fresh();
  write("a", *written);
  CertificateFiles files;
  const auto found = find(files, "a");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "a");
  EXPECT_EQ(found->credential->name, "a");
  EXPECT_EQ(found->credential->facts.serial_hex, written->facts.serial_hex);
  EXPECT_EQ(found->certificate_stamp, *FileStamp::of(chain("a")));
  const auto in_full = CertificateFiles().credential("a", chain("a"), key("a"));
  ASSERT_TRUE(in_full);
  EXPECT_EQ(in_full->credential->facts.fingerprint_sha256_hex,
            found->credential->facts.fingerprint_sha256_hex);
}

TEST_F(CertificateFilesTest, UntouchedOnesAreSharedWithTheConfigurationBefore) {
  write("a", *fresh());
  Config before;
  {
    CertificateFiles files;
    before.file_certificates.push_back(*find(files, "a"));
  }
  CertificateFiles files(&before);
  EXPECT_EQ(find(files, "a")->credential, before.file_certificates[0].credential);
  const auto renamed = files.find("b", chain("a"), key("a"));
  EXPECT_EQ(renamed->credential->name, "b");
  EXPECT_EQ(before.file_certificates[0].credential->name, "a");
}

TEST_F(CertificateFilesTest, AFileThatWasReplacedIsReadAgain) {
  write("a", *fresh());
  Config before;
  {
    CertificateFiles files;
    before.file_certificates.push_back(*find(files, "a"));
  }
  const auto renewed = fresh();
  write("a", *renewed);
  CertificateFiles files(&before);
  EXPECT_EQ(find(files, "a")->credential->facts.serial_hex, renewed->facts.serial_hex);
}

TEST_F(CertificateFilesTest, WhatIsWrongIsLeftToTheFullReading) {
  write("a", *fresh());
  write("b", *fresh());
  CertificateFiles files;
  EXPECT_FALSE(files.find("a", chain("a"), key("b")));
  EXPECT_FALSE(files.find("a", chain("a"), chain("b")));
  EXPECT_FALSE(files.find("a", key("a"), key("a")));
  EXPECT_FALSE(files.find("a", chain("none"), key("a")));
  EXPECT_FALSE(files.find("a", chain("a"), key("none")));
}

TEST_F(CertificateFilesTest, AWatchSeesWhatChangedSinceItWasRead) {
  write("a", *fresh());
  write("b", *fresh());
  CertificateFiles files;
  const std::vector<FileCertificate> served{*find(files, "a"), *find(files, "b")};
  FileWatch watch;
  EXPECT_TRUE(watch.changed(served).empty());
  write("b", *fresh());
  const auto changed = watch.changed(served);
  ASSERT_EQ(changed.size(), 1u);
  EXPECT_EQ(changed[0].name, "b");
  EXPECT_TRUE(watch.changed(served).empty());
  std::filesystem::remove(chain("a"));
  EXPECT_TRUE(watch.changed(served).empty());
}

TEST_F(CertificateFilesTest, AWatchSeesWhatChangedBeforeItsFirstLook) {
  write("a", *fresh());
  CertificateFiles files;
  const std::vector<FileCertificate> served{*find(files, "a")};
  write("a", *fresh());
  EXPECT_EQ(FileWatch().changed(served).size(), 1u);
}

}  // namespace
}  // namespace gatehouse::daemon
