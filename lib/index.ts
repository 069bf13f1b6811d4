// The public list, nothing else.

export { Chat, type ChatOptions, type SendInput, type SendOptions } from "./chat";
export type { ToolChoice, TurnOptions } from "./chat-options";
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
export { DecodeStream } from "./decode-stream";
export { demoModelPath } from "./demo-model";
export { K2Error, type K2ErrorCode, type K2ErrorDetails } from "./errors";
export type { ToolResult } from "./execute-call";
export type { FinishPart, FinishReason, StreamPart, Usage } from "./generate/part";
export type { GrammarProgram } from "./grammar/program";
export type { Device, LoadOptions, LoadProgress } from "./load-options";
export { forecastModel, listDevices, loadModel, type Model, type WarmOptions } from "./model";
export type { RestoreChatOptions } from "./model-files";
export { loadTokenizer, type ModelText, readModelText } from "./model-text";
export type { FormattedValue, Reply, ReplyStream } from "./reply";
export { createGrammar, type ResponseFormat } from "./response-format";
export type { Routing, RoutingOptions, RoutingShape, SessionOptions } from "./routing";
export type {
  RunFinishReason,
  RunOptions,
  RunPart,
  RunResult,
  RunStep,
  RunStream,
  StepDecision,
} from "./run-options";
export {
  createTokenMask,
  type DecodeLimits,
  type SampledToken,
  type SamplingOptions,
  type TokenEnd,
  type TokenMask,
} from "./sampling";
export type {
  CallOptions,
  DecodeOptions,
  GrammarOptions,
  PrefillResult,
  Session,
  SessionTimings,
} from "./session";
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
export { defineTool, type Tool, type ToolContext } from "./tool";
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
export type { SchemaResult, TypedSchema } from "./typed-schema";
