/**
 * Follows Runcast runs from a browser or from Node.
 *
 * Owns the wire contract as a client sees it: events, cursors, problems, the event stream and its
 * resumption. Imports no framework and has no dependency.
 */

export { type BackoffOptions, backoffDelay } from "./backoff.ts";
export {
  Client,
  type ClientOptions,
  type ListQuery,
  type PageQuery,
  type RunList,
} from "./client.ts";
export { type CloseDecision, decideClose } from "./close.ts";
export { type Cursor, formatCursor, parseCursor, START } from "./cursor.ts";
export { firstOffset, isTerminal, parseEvent, type RunEvent } from "./event.ts";
export {
  type FeedChoice,
  type FeedEvent,
  type FeedOptions,
  followFeed,
  isFeedEvent,
} from "./feed.ts";
export {
  type Choice,
  type EndedBecause,
  Follow,
  type FollowItem,
  type FollowOptions,
  type FollowState,
  follow,
  type Gap,
  type GapReason,
} from "./follow.ts";
export { NetworkError, type ProblemCode, ProblemError, ProtocolError } from "./problem.ts";
export type { EventDraft, Producer, Published, PublishOptions } from "./publisher.ts";
export type { Page, Run, RunStatus } from "./run.ts";
export type {
  Agent,
  Attempt,
  Command,
  Input,
  Message,
  RunState,
  Stage,
  Step,
  StepResult,
  Task,
  ToolCall,
  Usage,
  Variation,
  WorkStatus,
} from "./run-state.ts";
export {
  RuncastSocket,
  type SocketOptions,
  type SocketState,
  type WebSocketConstructor,
  type WebSocketLike,
} from "./socket.ts";
export { type SseFrame, SseParser } from "./sse.ts";
export { Subscription, type SubscriptionOptions } from "./subscription.ts";
export type { CommandDraft, InputList, InputQuery, Outcome, Question } from "./talk.ts";
