// All of attention for one ISA, behind its vectors and operands.
#include "cpu/vector_math.inl.h"

#include "cpu/attention_tile.inl.h"

#include "cpu/attention_absorbed.inl.h"
#include "cpu/attention_expanded.inl.h"

constexpr AttentionKernels kKernels = {.absorbed = AbsorbedAttention, .expanded = ExpandedAttention};
