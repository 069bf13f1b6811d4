// Marks functions that may use an instruction set which the rest of the program must not: everything between
// K2_REGION_BEGIN("features") and K2_REGION_END. Headers are included before the region and what it defines
// has internal linkage, so that no other file can pick up its instructions through the linker.
#pragma once

#define K2_REGION_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define K2_REGION_BEGIN(features) \
  K2_REGION_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define K2_REGION_END K2_REGION_PRAGMA(clang attribute pop)
#else
// g++ 12 takes the undefined registers inside its own intrinsics for mistakes of ours (GCC bug 105593).
#define K2_REGION_BEGIN(features)                                  \
  K2_REGION_PRAGMA(GCC push_options)                               \
  K2_REGION_PRAGMA(GCC target(features))                           \
  K2_REGION_PRAGMA(GCC diagnostic push)                            \
  K2_REGION_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized") \
  K2_REGION_PRAGMA(GCC diagnostic ignored "-Wuninitialized")
#define K2_REGION_END K2_REGION_PRAGMA(GCC diagnostic pop) K2_REGION_PRAGMA(GCC pop_options)
#endif
