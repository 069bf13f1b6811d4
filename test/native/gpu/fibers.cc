// longjmp between stacks is what it is used for here; the fortified one refuses.
#undef _FORTIFY_SOURCE
#include "gpu/fibers.h"

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define K2_LEAVE(keep, bottom, bytes) __sanitizer_start_switch_fiber(keep, bottom, bytes)
#define K2_ARRIVE(keep, bottom, bytes) __sanitizer_finish_switch_fiber(keep, bottom, bytes)
#else
#define K2_LEAVE(keep, bottom, bytes) (void)0
#define K2_ARRIVE(keep, bottom, bytes) (void)0
#endif

namespace k2::emulator {

Fiber::Fiber(Body body, void* argument)
    : body_(body), argument_(argument), stack_(new uint8_t[kStackBytes]) {}

Fiber::~Fiber() = default;

void Fiber::Enter(uint32_t high, uint32_t low) {
  Fiber* const self = reinterpret_cast<Fiber*>(uint64_t{high} << 32 | low);
  K2_ARRIVE(nullptr, &self->scheduler_stack_, &self->scheduler_stack_bytes_);
  self->body_(self->argument_);  // never returns: it yields for the last time
}

void Fiber::Resume() {
  K2_LEAVE(&scheduler_fake_stack_, stack_.get(), kStackBytes);
  if (_setjmp(scheduler_) == 0) {
    if (has_begun_) _longjmp(fiber_, 1);
    has_begun_ = true;
    ucontext_t context, unused;
    getcontext(&context);
    context.uc_stack.ss_sp = stack_.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    const uint64_t self = reinterpret_cast<uint64_t>(this);
    makecontext(&context, reinterpret_cast<void (*)()>(Enter), 2, static_cast<uint32_t>(self >> 32),
                static_cast<uint32_t>(self));
    swapcontext(&unused, &context);
  }
  K2_ARRIVE(scheduler_fake_stack_, nullptr, nullptr);
}

void Fiber::Yield() {
  K2_LEAVE(&fake_stack_, scheduler_stack_, scheduler_stack_bytes_);
  if (_setjmp(fiber_) == 0) _longjmp(scheduler_, 1);
  K2_ARRIVE(fake_stack_, &scheduler_stack_, &scheduler_stack_bytes_);
}

}  // namespace k2::emulator
