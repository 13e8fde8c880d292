//! What a run's state holds at most. What is over a limit is left out of the state, never out of the
//! log, and the state says how much: in `omitted` of the run, and in `omitted_bytes` of the thing.

/// Bytes of texts and values that a state keeps together, those of open inputs and of commands
/// apart.
pub const KEPT_BYTES_MAX: usize = 256 * 1024;
/// The longest text or value that is kept whole, in bytes as JSON. A longer text is cut, a longer
/// value left out.
pub const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Bytes kept of the text of one message, and of the arguments of one tool call, as JSON.
pub const MESSAGE_TEXT_BYTES_MAX: usize = 32 * 1024;
/// Stages that are kept, of all variations together. The oldest that are over go first.
pub const STAGES_MAX: usize = 1_000;
/// Steps that are kept. The oldest that are over go first.
pub const STEPS_MAX: usize = 1_000;
/// Attempts of a step that are kept beside the newest. The oldest go first.
pub const ATTEMPTS_MAX: usize = 10;
/// Variations that are kept. The oldest that are over go first.
pub const VARIATIONS_MAX: usize = 1_000;
/// Agents that are kept. The oldest go first.
pub const AGENTS_MAX: usize = 100;
/// Tasks that are kept. The oldest that are over go first.
pub const TASKS_MAX: usize = 500;
/// Messages that are kept. The oldest that are complete go first.
pub const MESSAGES_MAX: usize = 100;
/// Tool calls that are kept. The oldest that are over go first.
pub const TOOL_CALLS_MAX: usize = 200;
/// Inputs that may be open at once, and inputs that are kept. The oldest that are closed go first.
pub const INPUTS_MAX: usize = 32;
/// Commands that may be open at once, and commands that are kept. The oldest that are over go first.
pub const COMMANDS_MAX: usize = 32;
/// Ranges of damaged events that are told. More are only counted, in `events.damaged`.
pub const DAMAGED_MAX: usize = 32;
/// The largest prompt, schema, list of choices or default of an input, in bytes as JSON, and the
/// largest arguments of a command: what is asked must be in the state whole.
pub const ASKED_BYTES_MAX: usize = VALUE_BYTES_MAX;
