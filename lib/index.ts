// The public list, nothing else.

export { Chat, type ChatOptions, type SendInput, type SendOptions } from "./chat/chat";
export type { CompactOptions, RunCompactOptions } from "./chat/compact";
export type { ContextUse } from "./chat/context-use";
export type { ToolResult } from "./chat/execute-call";
export type { ToolChoice, TurnOptions } from "./chat/options";
export type { FormattedValue, Reply, ReplyStream } from "./chat/reply";
export { createGrammar, type ResponseFormat } from "./chat/response-format";
export type {
  RunFinishReason,
  RunOptions,
  RunPart,
  RunResult,
  RunStep,
  RunStream,
  StepDecision,
} from "./chat/run-options";
export { defineTool, type Tool, type ToolContext } from "./chat/tool";
export type { SchemaResult, TypedSchema } from "./chat/typed-schema";
export type { MemoryForecast } from "./checkpoint/memory-forecast";
export type { ModelConfig } from "./checkpoint/model-config";
export {
  type Checkpoint,
  type OpenOptions,
  type OpenProgress,
  openCheckpoint,
  type TextFiles,
} from "./checkpoint/open-checkpoint";
export type { BlockSize } from "./checkpoint/quantization-config";
export type { RopeScaling } from "./checkpoint/rope-config";
export type { WeightFile } from "./checkpoint/shards";
export type { ModelPart, StorageShare } from "./checkpoint/storage-shares";
export { compactMessages } from "./compact/compact-messages";
export type {
  CompactedMessages,
  Compaction,
  CompactionOptions,
  CompactMessagesOptions,
  Summarize,
} from "./compact/compact-options";
export { K2Error, type K2ErrorCode, type K2ErrorDetails } from "./errors";
export type { FinishPart, FinishReason, StreamPart, Usage } from "./generate/part";
export type { GrammarProgram } from "./grammar/program";
export { type MachineLimits, type MeasureOptions, measureMachine } from "./machine";
export { demoModelPath } from "./model/demo-model";
export type { ExpertReads } from "./model/expert-reads";
export type { RestoreChatOptions } from "./model/files";
export type { Device, LoadOptions, LoadProgress } from "./model/load-options";
export { forecastModel, listDevices, loadModel, type Model, type WarmOptions } from "./model/model";
export { loadTokenizer, type ModelText, readModelText } from "./model/text";
export {
  createTokenMask,
  type DecodeLimits,
  type SampledToken,
  type SamplingOptions,
  type TokenEnd,
  type TokenMask,
} from "./sampling";
export { DecodeStream } from "./session/decode-stream";
export type { Routing, RoutingOptions, RoutingShape, SessionOptions } from "./session/routing";
export type {
  CallOptions,
  DecodeOptions,
  GrammarOptions,
  PrefillResult,
  Session,
  SessionTimings,
} from "./session/session";
export type { RenderOptions } from "./template/chat-template";
export type { ChatTemplateName } from "./template/choose-template";
export type { JsonObject, JsonValue } from "./template/json";
export type {
  AssistantMessage,
  Message,
  MessageContent,
  SystemMessage,
  TextPart,
  ToolCall,
  ToolMessage,
  UserMessage,
} from "./template/message";
export type { ToolDefinition } from "./template/tool-definition";
export type { SpecialTokens } from "./tokenizer/special-tokens";
export type { StreamingTextDecoder } from "./tokenizer/text-decoder";
export type { DecodeOptions as DecodeTextOptions, EncodeOptions, Tokenizer } from "./tokenizer/tokenizer";
export type {
  CallParser,
  CallParserEvent,
  CallParserOptions,
  InvalidCall,
  InvalidCallReason,
  ParserTokenizer,
  ReportedToolCall,
  TokenDecoder,
} from "./tools/call-parser";
export {
  createCallParser,
  createTextCallParser,
  type TextCallParser,
  type TextCallParserOptions,
} from "./tools/create-call-parser";
export { createPartialJson, type PartialJson } from "./tools/partial-json";
