// Machines whose memory is in several nodes, each near to some of the cores.
//
// Any thread may compute any task, so no page is nearer to its readers than another. What helps is that all
// nodes deliver at once: pages go to the nodes in turn. Otherwise they go to the node of the thread that
// first touches them, and weights that one thread has read, or a program that copied the files, all lie in a
// single node.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace k2 {

inline constexpr char kNodeFolder[] = "/sys/devices/system/node";

// Numbers of the nodes that have memory, from a folder like the one above. Empty where the system does not
// say.
std::vector<int> MemoryNodes(const std::string& folder);

// Spreads the pages that the calling thread, and threads that it starts, will be the first to touch over
// `nodes`: cached rows, scratch, and pages of mapped files that are not in memory yet. Does nothing with
// fewer than two nodes, where the process was given a policy of its own (numactl), or where the system
// refuses.
void SpreadMemory(std::span<const int> nodes);

}  // namespace k2
