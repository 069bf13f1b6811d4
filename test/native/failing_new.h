// operator new of the whole test program, which fails when a test tells it to.
#pragma once

namespace k2::test {

// The nth request of memory from now on fails, once; 0: none does.
void FailAtRequest(int n);
// Whether requests of the calling thread are left out.
void AllowAllHere(bool allow);

}  // namespace k2::test
