// The public list, nothing else.

export { Chat, type ChatOptions, type SendInput, type SendOptions } from "./chat";
export type { TurnOptions } from "./chat-options";
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
export { DecodeStream, type Token, type TokenEnd } from "./decode-stream";
export { demoModelPath } from "./demo-model";
export { K2Error, type K2ErrorCode, type K2ErrorDetails } from "./errors";
export type { FinishPart, FinishReason, StreamPart, Usage } from "./generate/part";
export type { SampledToken } from "./generate/token-source";
export type { Device, LoadOptions, LoadProgress } from "./load-options";
export { forecastModel, listDevices, loadModel, type Model, type WarmOptions } from "./model";
export { type ModelText, readModelText } from "./model-text";
export type { Reply, ReplyStream } from "./reply";
export { createTokenMask, type DecodeLimits, type SamplingOptions, type TokenMask } from "./sampling";
export type { CallOptions, DecodeOptions, PrefillResult, Session, SessionTimings } from "./session";
export type { RenderOptions } from "./template/chat-template";
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
  CallParserEvent,
  InvalidCall,
  InvalidCallReason,
  ReportedToolCall,
} from "./tools/call-parser";
