#include "base/numa.h"

#include <cstdlib>
#include <fstream>

#if defined(__linux__)
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace k2 {
namespace {

// Linux has no more.
constexpr int kMostNodes = 1024;

}  // namespace

// The file holds a list like "0-1,4".
std::vector<int> MemoryNodes(const std::string& folder) {
  std::ifstream file(folder + "/has_memory");
  std::string list;
  if (!std::getline(file, list)) return {};
  std::vector<int> nodes;
  for (const char* at = list.c_str();;) {
    char* end = nullptr;
    const long first = std::strtol(at, &end, 10);
    if (end == at) return {};
    long last = first;
    if (*end == '-') {
      at = end + 1;
      last = std::strtol(at, &end, 10);
      if (end == at) return {};
    }
    if (first < 0 || last < first || last >= kMostNodes) return {};
    for (long node = first; node <= last; ++node) nodes.push_back(static_cast<int>(node));
    if (*end == 0) return nodes;
    if (*end != ',') return {};
    at = end + 1;
  }
}

void SpreadMemory(std::span<const int> nodes) {
#if defined(__linux__)
  if (nodes.size() < 2) return;
  int policy = MPOL_DEFAULT;
  if (syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) != 0 || policy != MPOL_DEFAULT) return;
  constexpr int kWordBits = 8 * sizeof(unsigned long);
  unsigned long mask[kMostNodes / kWordBits] = {};
  for (int node : nodes) mask[node / kWordBits] |= 1ul << (node % kWordBits);
  // The kernel leaves the last bit out of the count that it is given.
  (void)syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask, kMostNodes + 1);
#else
  (void)nodes;
#endif
}

}  // namespace k2
