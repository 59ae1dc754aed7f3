// Exchanges between peers that split, stall, reset and half-close at random: bodies byte-exact,
// nothing left behind. A failure prints its seed. SIM_EXCHANGES is how many (tests/proofs: a
// million), SIM_SEED where to begin.

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/sim/world.h"

namespace gatehouse::proxy::sim {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? number_of(text) : otherwise;
}

constexpr std::uint64_t kEach = 200;  // exchanges of one world

void simulate(bool has_faults, std::uint64_t exchanges) {
  const std::uint64_t first = from_environment("SIM_SEED", 1);
  std::size_t whole = 0, all = 0;
  for (std::uint64_t seed = first; all < exchanges; ++seed, all += kEach) {
    {
      World world(seed, 1, kEach, has_faults);
      ASSERT_TRUE(world.run()) << world.complaint << "\nagain: SIM_SEED=" << seed
                               << " SIM_EXCHANGES=1";
      whole += world.whole();
    }
    ASSERT_EQ(Buffer::blocks_in_use(), 0u)
        << "buffers are left; again: SIM_SEED=" << seed << " SIM_EXCHANGES=1";
  }
  std::cout << all << " exchanges, " << whole << " of them whole\n";
  EXPECT_GT(whole, all / 3);
}

TEST(Simulation, WithoutFaultsEverythingArrivesOnceAndWhole) {
  simulate(false, from_environment("SIM_EXCHANGES", 4000));
}

TEST(Simulation, WithFaultsNothingCutLooksWholeAndNothingIsLeft) {
  simulate(true, from_environment("SIM_EXCHANGES", 4000));
}

}  // namespace
}  // namespace gatehouse::proxy::sim
