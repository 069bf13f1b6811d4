// Stacks that give way to each other inside one thread. setjmp and longjmp switch without a system call once
// makecontext has begun a stack.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace k2::emulator {

class Fiber {
 public:
  static constexpr size_t kStackBytes = 48 << 10;

  using Body = void (*)(void*);
  // Nothing runs before the first Resume.
  Fiber(Body body, void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // From the scheduler: runs the fiber until it yields.
  void Resume();
  // From the fiber: back to the scheduler.
  void Yield();

 private:
  static void Enter(uint32_t high, uint32_t low);

  Body body_;
  void* argument_;
  std::unique_ptr<uint8_t[]> stack_;
  jmp_buf fiber_, scheduler_;
  bool has_begun_ = false;
  // Of the address sanitizer: where the other side's stack is.
  void* fake_stack_ = nullptr;
  void* scheduler_fake_stack_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
};

}  // namespace k2::emulator
