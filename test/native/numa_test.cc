// Nodes of memory, as the system lists them.
#include "base/numa.h"

#include "check.h"
#include "temporary_folder.h"

namespace k2 {

TEST(NumaReadsTheListOfNodes) {
  const test::TemporaryFolder folder;
  const auto read = [&](const std::string& list) {
    std::ofstream(folder / "has_memory") << list;
    return MemoryNodes(folder.path());
  };
  EXPECT(MemoryNodes(folder / "missing").empty());
  EXPECT(read("0\n") == std::vector<int>({0}));
  EXPECT(read("0-1\n") == std::vector<int>({0, 1}));
  EXPECT(read("0-2,5,1022-1023\n") == std::vector<int>({0, 1, 2, 5, 1022, 1023}));
  for (const char* damaged :
       {"", "\n", "x", "0-", "1-0", "-1", "0,", "0;1", "0-1024", "0-99999999999999999999"})
    EXPECT(read(damaged).empty());
}

}  // namespace k2
