// What the host hands to the kernels, in the words that Metal and C++ share. Whoever includes it has defined
// `uint`, Buffer<T> (memory that a kernel may write) and WeightBytes (bytes of a mapped file) as types of 8
// bytes or less, so that all readers agree on every offset. Letters as in docs/shapes.md; strides in floats.

// Threads of a simdgroup; simdgroups of a threadgroup that multiplies; rows of a weight that each of them
// takes.
#define K2_LANES 32
#define K2_PRODUCT_SIMDGROUPS 2
#define K2_PRODUCT_ROWS 4
// Tokens that share one reading of a weight.
#define K2_PRODUCT_TOKENS 4
// Threads of all threadgroups whose threads work for themselves, and of the norm.
#define K2_ROW_THREADS 256
// Attention: positions of a block (a unit of work) and of a tile in threadgroup memory; heads of a simdgroup,
// simdgroups of a threadgroup; most columns of a latent and of a rope key.
#define K2_BLOCK_POSITIONS 512
#define K2_TILE_POSITIONS 16
#define K2_ATTENTION_HEADS 2
#define K2_ATTENTION_SIMDGROUPS 8
#define K2_MOST_RANK 512
#define K2_MOST_ROPE 64
// Most experts of the router and of the sort, most chosen ones of a token.
#define K2_MOST_EXPERTS 1024
#define K2_MOST_CHOSEN 32

// A weight of the checkpoint as it lies in its file (native/base/tensor.h: Weight).
struct WeightArguments {
  WeightBytes data;
  WeightBytes scales;
  uint storage;
  uint scale_storage;
  uint rows;
  uint columns;
  uint row_bytes;
  uint block_rows;
  uint block_columns;
  uint block_shift;  // log2 of block_columns, or 32 where that is no power of two
  uint scale_columns;
  uint is_aligned;          // rows start at multiples of 4 bytes
  uint are_scales_aligned;  // scales lie at multiples of their size
  uint unused;
};

struct EmbedArguments {
  WeightArguments table;
  Buffer<const int> ids;
  Buffer<float> y;
  uint y_stride;
  uint columns;
};

struct NormArguments {
  WeightArguments w;
  Buffer<const float> x;
  Buffer<float> y;
  uint x_stride, y_stride;
  uint columns;
  float eps;
};

struct LinearArguments {
  WeightArguments w;
  Buffer<const float> x;
  Buffer<float> y;
  uint x_stride, y_stride;
  uint tokens;
  uint unused;
};

struct RopeArguments {
  Buffer<float> x;
  Buffer<const float> turns;  // [T, Dr / 2, 2]: cosine and sine, times the magnitude
  uint x_stride;
  uint heads, head_width, rope_dim;
};

struct RowsArguments {
  Buffer<const float> a;
  Buffer<const float> b;
  Buffer<float> y;
  uint a_stride, b_stride, y_stride;
  uint columns;
};

struct AppendArguments {
  Buffer<const float> latent;
  Buffer<const float> rope_key;
  Buffer<Buffer<uchar> const> rows;  // [T]: where each cached row goes
  uint latent_stride, rope_key_stride;
  uint kv_rank, rope_dim;
};

// A row of attention: its query and the pages of its session.
struct AttentionRow {
  Buffer<Buffer<const uchar> const> pages;
  uint row;         // of q and y
  uint first_slot;  // of this pass
  uint slots;
  uint unused;
};

// A block of positions of one row.
struct AttentionSlot {
  uint row;  // among the rows of the pass
  uint first_position;
  uint positions;
};

struct AttentionArguments {
  WeightArguments kv_b;
  Buffer<const float> q;
  Buffer<float> y;
  Buffer<const AttentionRow> rows;
  Buffer<const AttentionSlot> slots;
  Buffer<float> absorbed;  // [rows, H, R]
  Buffer<float> parts;     // [slots, H, R + 2]: weighted sum of latents, largest score, sum of shares
  Buffer<float> merged;    // [rows, H, R + 2]: the same of all blocks so far
  uint q_stride, y_stride;
  uint row_count;
  uint heads, nope_dim, rope_dim, value_dim, kv_rank;
  uint page_tokens;
  uint is_first, is_last;  // of the passes over the blocks
  float scale;
};

struct RouterArguments {
  WeightArguments bias;  // without data where there is none
  Buffer<const float> logits;
  Buffer<int> ids;
  Buffer<float> weights;
  uint logits_stride;
  uint experts, chosen, groups, top_groups;
  uint scoring, routing, normalize;
  float routed_scaling;
  uint unused;
};

struct ExpertArguments {
  WeightArguments parts[3];  // gate, up, down
};

// A few (token, expert) pairs of one expert.
struct ExpertTile {
  uint expert, first, count;
};

struct ExpertsArguments {
  Buffer<const ExpertArguments> experts;
  Buffer<const int> ids;  // [T, K]; null where all take the only expert
  Buffer<const float> weights;
  Buffer<uint> sorted;       // [pairs]: pairs by expert; null where every pair is a tile of its own
  Buffer<ExpertTile> tiles;  // those without pairs have a count of 0
  Buffer<const float> x;
  Buffer<float> y;
  uint x_stride, y_stride;
  uint pairs, chosen, expert_count, tile_count;
  uint part;         // of ExpertPart
  uint pairs_a_row;  // of x: `chosen` where x is a row of a token, 1 where it is a row of a pair
  uint columns;      // of y
  uint tile_pairs;
  uint first_expert, end_expert;  // pairs of others are left out
};
