// What the host hands to the kernels, in the words that CUDA and C++ share. Whoever includes it has defined
// `uint`, Buffer<T> (memory of the device) and WeightBytes (weights there) as types of 8 bytes. Letters as in
// docs/shapes.md; strides in numbers.

constexpr int kLanes = 32;  // of a warp
// Threads of a block whose threads work for themselves; of one that multiplies, and its warps, which share a
// sum; rows of a weight that such a block takes on tensor cores.
constexpr int kRowThreads = 256;
constexpr int kProductThreads = 128;
constexpr int kProductWarps = 4;
constexpr int kTileRows = 16;
// Columns of a tile: what a warp loads at a time. Tokens of one tensor operation, and most of a block.
constexpr int kTileColumns = 64;
constexpr int kTileTokens = 8;
constexpr int kMostTokenTiles = 4;
// Attention: positions of a block (a unit of work) and of a tile in shared memory; heads of a warp, warps of
// a block; most columns of a latent and of a rope key.
constexpr int kBlockPositions = 512;
constexpr int kTilePositions = 16;
constexpr int kAttentionHeads = 2;
constexpr int kAttentionWarps = 8;
constexpr int kMostRank = 512;
constexpr int kMostRope = 64;
// Most experts of the router and of the sort, most chosen ones of a token.
constexpr int kMostExperts = 1024;
constexpr int kMostChosen = 32;

// A weight as the device holds it (cuda/weight_memory.h).
struct WeightArguments {
  WeightBytes data;
  WeightBytes scales;
  uint storage;
  uint scale_storage;
  uint rows;
  uint columns;
  uint row_bytes;  // of rows, a multiple of 16; of no meaning for tiles
  uint block_rows;
  uint block_columns;
  uint scale_columns;
  uint is_tiled;
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

// x rounded to BF16, with zeros up to a multiple of kTileColumns.
struct RoundArguments {
  Buffer<const float> x;
  Buffer<ushort> y;
  uint x_stride, y_stride;
  uint columns;
  uint unused;
};

struct LinearArguments {
  WeightArguments w;
  Buffer<const float> x;         // of a product in float
  Buffer<const ushort> rounded;  // of one on tensor cores
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
  Buffer<Buffer<ushort> const> rows;  // [T]: where each cached row goes
  uint latent_stride, rope_key_stride;
  uint kv_rank, rope_dim;
};

// A row of attention: its query and the pages of its session.
struct AttentionRow {
  Buffer<Buffer<const ushort> const> pages;
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
  Buffer<uint> sorted;       // [pairs]: pairs by expert; null for the only expert
  Buffer<ExpertTile> tiles;  // those without pairs have a count of 0; null for the only expert
  Buffer<const float> x;
  Buffer<const ushort> rounded;
  Buffer<float> y;
  uint x_stride, y_stride;  // x_stride of `x` or `rounded`
  uint pairs, chosen, expert_count, tile_count;
  uint part;         // of ExpertPart
  uint pairs_a_row;  // of x: `chosen` where x is a row of a token, 1 where it is a row of a pair
  uint columns;      // of y
  uint tile_pairs;
  uint first_expert, end_expert;  // pairs of others are left out
};
