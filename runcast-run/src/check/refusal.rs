//! Why an event is refused: what the run's state is, and what it would allow.

use std::fmt;

use runcast_event::Timestamp;

use crate::command::CommandStatus;
use crate::input::InputStatus;
use crate::status::{Status, WorkStatus};
use crate::template;

/// Why an event cannot be a run's next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The run has ended: nothing comes after that.
    RunEnded {
        /// How.
        status: Status,
    },
    /// The run is to go on and does not hold still.
    NotPaused {
        /// Where it stands.
        status: Status,
    },
    /// The stages are to be a built-in list that does not exist.
    StagesUnknown {
        /// The name that was given.
        name: String,
    },
    /// The stage is not in the declared list.
    StageNotDeclared {
        /// The stage that was named.
        stage: String,
        /// The declared ones, the first of them if they are many.
        declared: Vec<String>,
        /// How many are declared.
        count: usize,
    },
    /// The step is to complete and never began.
    StepNotStarted {
        /// The step.
        step: String,
        /// Where it stands.
        status: WorkStatus,
    },
    /// The input was asked before.
    InputExists {
        /// The input.
        input: String,
        /// Where it stands.
        status: InputStatus,
    },
    /// There is no such input.
    InputUnknown {
        /// The input that was named.
        input: String,
        /// Those that are open.
        open: Vec<String>,
    },
    /// The input takes no answer any more: the first one counts.
    InputClosed {
        /// The input.
        input: String,
        /// Where it stands.
        status: InputStatus,
        /// Who answered.
        by: Option<String>,
        /// When.
        at: Option<Timestamp>,
    },
    /// The answer is none of the choices.
    NotAChoice {
        /// The input.
        input: String,
        /// The choices, the first of them if they are many.
        choices: Vec<String>,
    },
    /// As many inputs are open as may be.
    TooManyInputs {
        /// The limit.
        max: usize,
    },
    /// The command was asked for before under this id.
    CommandExists {
        /// The command.
        command: String,
        /// Where it stands.
        status: CommandStatus,
    },
    /// The same was asked for before: by the same key, or a stop by a stop.
    AlreadyRequested {
        /// What was asked for.
        name: String,
        /// The command that it is.
        command: String,
    },
    /// There is no such command.
    CommandUnknown {
        /// The command that was named.
        command: String,
    },
    /// The command has its outcome.
    CommandClosed {
        /// The command.
        command: String,
        /// What was asked for.
        name: String,
        /// Where it stands.
        status: CommandStatus,
    },
    /// As many commands are open as may be.
    TooManyCommands {
        /// The limit.
        max: usize,
    },
    /// A part of what is asked is too large.
    TooLarge {
        /// The field of the event's data.
        field: &'static str,
        /// Its bytes, as JSON.
        actual: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// Which of several events is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {}: {refusal}", index + 1)]
pub struct RefusedAt {
    /// Its place, from 0.
    pub index: usize,
    /// Why.
    pub refusal: Refusal,
}

impl Refusal {
    /// What is wrong, as a name that does not change.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RunEnded { .. } => "run_ended",
            Self::NotPaused { .. } => "run_not_paused",
            Self::StagesUnknown { .. } => "stages_unknown",
            Self::StageNotDeclared { .. } => "stage_not_declared",
            Self::StepNotStarted { .. } => "step_not_started",
            Self::InputExists { .. } => "input_exists",
            Self::InputUnknown { .. } => "input_unknown",
            Self::InputClosed { .. } => "input_closed",
            Self::NotAChoice { .. } => "not_a_choice",
            Self::TooManyInputs { .. } => "too_many_inputs",
            Self::CommandExists { .. } => "command_exists",
            Self::AlreadyRequested { .. } => "command_already_requested",
            Self::CommandUnknown { .. } => "command_unknown",
            Self::CommandClosed { .. } => "command_closed",
            Self::TooManyCommands { .. } => "too_many_commands",
            Self::TooLarge { .. } => "value_too_large",
        }
    }

    /// The state that forbids it: of the run, the step, the input or the command.
    #[must_use]
    pub const fn state(&self) -> Option<&'static str> {
        match self {
            Self::RunEnded { status } | Self::NotPaused { status } => Some(status.as_str()),
            Self::StepNotStarted { status, .. } => Some(status.as_str()),
            Self::InputExists { status, .. } | Self::InputClosed { status, .. } => {
                Some(status.as_str())
            }
            Self::CommandExists { status, .. } | Self::CommandClosed { status, .. } => {
                Some(status.as_str())
            }
            _ => None,
        }
    }

    /// Whether it is refused only because no event said before what it needs.
    pub(super) const fn is_for_want_of_events(&self) -> bool {
        matches!(
            self,
            Self::NotPaused { .. }
                | Self::StageNotDeclared { .. }
                | Self::StepNotStarted { .. }
                | Self::InputUnknown { .. }
                | Self::CommandUnknown { .. }
        )
    }

    /// What would be allowed instead: types of events, stages, inputs or answers. Nothing is
    /// allowed after an end.
    #[must_use]
    pub fn allowed(&self) -> Vec<String> {
        let fixed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Self::NotPaused { .. } => fixed(&["run.paused"]),
            Self::StagesUnknown { .. } => fixed(&template::BUILT_IN),
            Self::StageNotDeclared { declared, .. } => declared.clone(),
            Self::StepNotStarted { .. } => fixed(&["step.started", "step.skipped", "step.failed"]),
            Self::InputUnknown { open, .. } => open.clone(),
            Self::NotAChoice { choices, .. } => choices.clone(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunEnded { status } => {
                write!(f, "the run is {status}: nothing can come after its end")
            }
            Self::NotPaused { status } => {
                write!(f, "the run is {status}: only one that is paused can be resumed")
            }
            Self::StagesUnknown { name } => {
                let known = template::BUILT_IN.join(", ");
                write!(f, "{name:?} is not a built-in list of stages; there is {known}")
            }
            Self::StageNotDeclared { stage, declared, count } => {
                let more = if *count > declared.len() { " …" } else { "" };
                let declared = declared.join(", ");
                write!(
                    f,
                    "stage {stage:?} is not one of the {count} that the run declares: \
                     {declared}{more}; run.updated can declare others"
                )
            }
            Self::StepNotStarted { step, status } => write!(
                f,
                "step {step:?} is {status}: it can be started, skipped or fail, and completes only \
                 after it was started"
            ),
            Self::InputExists { input, status } => {
                let status = status.as_str();
                write!(f, "input {input:?} is {status}; a new question needs a new id")
            }
            Self::InputUnknown { input, open } if open.is_empty() => {
                write!(f, "there is no input {input:?}; no input is open")
            }
            Self::InputUnknown { input, open } => {
                write!(f, "there is no input {input:?}; open are {}", open.join(", "))
            }
            Self::InputClosed { input, status, by, at } => {
                write!(f, "input {input:?} is {}", status.as_str())?;
                by.iter().try_for_each(|by| write!(f, " by {by:?}"))?;
                at.iter().try_for_each(|at| write!(f, " since {at}"))?;
                f.write_str(" and takes no answer any more")
            }
            Self::NotAChoice { input, choices } => write!(
                f,
                "the answer to input {input:?} must be one of its choices: {}",
                choices.join(", ")
            ),
            Self::TooManyInputs { max } => {
                write!(f, "{max} inputs are open already; answer or time out one first")
            }
            Self::CommandExists { command, status } => {
                let status = status.as_str();
                write!(f, "command {command:?} is {status}; a new one needs a new id")
            }
            Self::AlreadyRequested { name, command } => {
                write!(f, "this {name} was asked for already: it is command {command:?}")
            }
            Self::CommandUnknown { command } => {
                write!(f, "there is no command {command:?} that waits for the run")
            }
            Self::CommandClosed { command, name, status } => {
                let status = status.as_str();
                write!(f, "command {command:?} ({name}) is {status} already: that does not change")
            }
            Self::TooManyCommands { max } => {
                write!(f, "{max} commands wait for the run already; let it carry one out first")
            }
            Self::TooLarge { field, actual, max } => {
                write!(f, "data.{field} has {actual} bytes, {max} are allowed")
            }
        }
    }
}

impl std::error::Error for Refusal {}
