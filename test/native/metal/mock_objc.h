// Stands in for the Objective-C runtime and for Metal, as far as native/metal speaks to them: kernels run in
// the emulator when a command buffer is waited for. Addresses of the GPU are those of the host.
#pragma once

#include <cstdint>
#include <string>

namespace k2::test {

struct MockMetal {
  // What the system has.
  bool has_gpu = true, has_metal3 = true;
  uint64_t longest_buffer = uint64_t{1} << 40;
  unsigned long lanes = 32, most_threads = 1024;
  // What goes wrong.
  std::string compile_error;  // of the library
  std::string command_error;  // of all command buffers from now on
  long command_error_code = 1;
  int failing_buffer = 0;  // the k-th new buffer from now is refused; 0: none
  // What was seen.
  long live_objects = 0;
  long live_buffers = 0;
  long command_buffers = 0;
  long dispatches = 0;
  std::string source;   // of the library
  std::string mistake;  // the first wrong use, empty for none
};

MockMetal& Mock();

}  // namespace k2::test
