// Linear of the CPU backend: y = x W^T, cut into blocks of 16 rows of W for the threads, never along K.
#pragma once

#include "cpu/linear_scratch.h"
#include "ops/params.h"

namespace k2 {

void CpuLinear(LinearScratch& scratch, const LinearParams& p);

}  // namespace k2
