// All of attention for one ISA, behind its vectors and operands.
#include "cpu/vector_math.inl.h"

#include "cpu/attention_rows.inl.h"
#include "cpu/attention_tile.inl.h"

#include "cpu/attention_absorbed.inl.h"
#include "cpu/attention_expanded.inl.h"
#include "cpu/attention_project.inl.h"

constexpr AttentionKernels kKernels = {.project_queries = ProjectQueries,
                                       .absorbed = AbsorbedAttention,
                                       .merge = MergeSplit,
                                       .project_outputs = ProjectOutputs,
                                       .expanded = ExpandedAttention};
