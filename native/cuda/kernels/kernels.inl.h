// The kernels, for whoever has defined the words that they are written in. Each file needs those before it.
// clang-format off
#include "numbers.inl.h"
#include "formats.inl.h"
#include "rows.inl.h"
#include "products.inl.h"
#include "experts.inl.h"
#include "attention.inl.h"
#include "router.inl.h"
// clang-format on
