#include "daemon/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace gatehouse {

TEST(Error, ReadsFromTheOutsideIn) {
  Error error = Error{Fault::kIo, "disk on fire"}.in("writing page").in("renewing shop.example");
  EXPECT_EQ(error.message, "renewing shop.example: writing page: disk on fire");
  EXPECT_EQ(error.fault, Fault::kIo);
}

TEST(Error, ErrnoGivesTheFaultThatCallersBranchOn) {
  const struct {
    int number;
    Fault fault;
  } cases[] = {{ENOENT, Fault::kNotFound},     {EACCES, Fault::kPermission},
               {EADDRINUSE, Fault::kConflict}, {ENOSPC, Fault::kDiskFull},
               {ETIMEDOUT, Fault::kTimeout},   {ECONNREFUSED, Fault::kConnection},
               {EINVAL, Fault::kInvalid},      {EBADF, Fault::kIo}};
  for (const auto& [number, fault] : cases) EXPECT_EQ(errno_error("x", number).fault, fault);
}

TEST(Error, ErrnoSaysWhatWasDone) {
  EXPECT_EQ(errno_error("opening /x", ENOENT).message, "opening /x: No such file or directory");
}

TEST(Check, EndsTheProcessWithPlaceAndReason) {
  EXPECT_DEATH(check(false, "the sky fell"), "bug at .*error_test.cc:[0-9]+: the sky fell");
}

TEST(Check, LetsPassWhatHolds) { check(true, "never said"); }

}  // namespace gatehouse
