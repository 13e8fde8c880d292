//! How a process ended: as an exit code, and as the event that ends its run.

use rustix::process::{Signal, WaitIdStatus};
use serde_json::{Map, Value, json};

/// What a shell answers for a command that is not there.
const NOT_FOUND_CODE: u8 = 127;
/// What a shell answers for a command that cannot be run.
const NOT_RUNNABLE_CODE: u8 = 126;
/// What a shell adds to the number of the signal that killed a process.
const SIGNAL_CODE_BASE: i32 = 128;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Exited { code: i32 },
    /// By a signal that nobody asked for.
    Killed { signal: i32 },
    /// After a person or a program asked it to stop, for this reason.
    Cancelled { reason: String, how: Stopped },
    /// It never began.
    NotStarted { not_found: bool, reason: String },
}

/// How a process did stop that was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl Ending {
    /// Sorts what the system says. `stopped` says who asked to stop; a terminal's Ctrl-C reaches the
    /// child alone, so that with `is_interactive` a death by it counts as asked.
    pub(super) fn of(status: &WaitIdStatus, stopped: Option<String>, is_interactive: bool) -> Self {
        let how = match (status.terminating_signal(), status.exit_status()) {
            (Some(signal), _) => Stopped::Killed(signal),
            (None, code) => Stopped::Exited(code.unwrap_or(0)),
        };
        match (stopped, how) {
            (Some(reason), how) => Self::Cancelled { reason, how },
            (None, Stopped::Killed(signal)) if is_interactive && signal == Signal::INT.as_raw() => {
                Self::Cancelled { reason: stopped_by(signal), how }
            }
            (None, Stopped::Killed(signal)) => Self::Killed { signal },
            (None, Stopped::Exited(code)) => Self::Exited { code },
        }
    }

    /// The type of the run's last event.
    pub(super) fn event_type(&self) -> &'static str {
        match self {
            Self::Exited { code: 0 } => "run.completed",
            Self::Exited { .. } | Self::Killed { .. } | Self::NotStarted { .. } => "run.failed",
            Self::Cancelled { .. } => "run.cancelled",
        }
    }

    /// The data of the run's last event.
    pub(super) fn data(&self) -> Map<String, Value> {
        let data = match self {
            Self::Exited { code } => json!({ "exit_code": code }),
            Self::Killed { signal } => json!({ "signal": signal_name(*signal) }),
            Self::Cancelled { reason, how: Stopped::Exited(code) } => {
                json!({ "exit_code": code, "status_reason": reason })
            }
            Self::Cancelled { reason, how: Stopped::Killed(signal) } => {
                json!({ "signal": signal_name(*signal), "status_reason": reason })
            }
            Self::NotStarted { reason, .. } => {
                json!({ "exit_code": self.exit_code(), "error": reason })
            }
        };
        match data {
            Value::Object(data) => data,
            _ => Map::new(),
        }
    }

    /// The exit code of `exec`: the child's, as a shell would give it.
    pub(super) fn exit_code(&self) -> u8 {
        let code = match self {
            Self::Exited { code } | Self::Cancelled { how: Stopped::Exited(code), .. } => *code,
            Self::Killed { signal } | Self::Cancelled { how: Stopped::Killed(signal), .. } => {
                SIGNAL_CODE_BASE + signal
            }
            Self::NotStarted { not_found: true, .. } => return NOT_FOUND_CODE,
            Self::NotStarted { not_found: false, .. } => return NOT_RUNNABLE_CODE,
        };
        // The system gives eight bits of an exit code, and signals are below 65.
        u8::try_from(code & 0xff).unwrap_or(u8::MAX)
    }
}

/// Why a run ended that a signal asked to.
pub(super) fn stopped_by(signal: i32) -> String {
    format!("stopped by {}", signal_name(signal))
}

/// A signal's name, such as `SIGTERM`; its number for one without a name.
pub(crate) fn signal_name(number: i32) -> String {
    const NAMES: [(Signal, &str); 21] = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::PROF, "SIGPROF"),
        (Signal::IO, "SIGIO"),
        (Signal::SYS, "SIGSYS"),
    ];
    let found = NAMES.iter().find(|(signal, _)| signal.as_raw() == number);
    found.map_or_else(|| format!("signal {number}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_its_event_and_its_code() {
        let not_started =
            |not_found| Ending::NotStarted { not_found, reason: "no such file".to_owned() };
        let cancelled = |how| Ending::Cancelled { reason: stopped_by(15), how };
        let cases = [
            (Ending::Exited { code: 0 }, "run.completed", json!({"exit_code":0}), 0),
            (Ending::Exited { code: 3 }, "run.failed", json!({"exit_code":3}), 3),
            (Ending::Killed { signal: 9 }, "run.failed", json!({"signal":"SIGKILL"}), 137),
            (Ending::Killed { signal: 34 }, "run.failed", json!({"signal":"signal 34"}), 162),
            (
                cancelled(Stopped::Killed(9)),
                "run.cancelled",
                json!({"signal":"SIGKILL","status_reason":"stopped by SIGTERM"}),
                137,
            ),
            (
                cancelled(Stopped::Exited(5)),
                "run.cancelled",
                json!({"exit_code":5,"status_reason":"stopped by SIGTERM"}),
                5,
            ),
            (not_started(true), "run.failed", json!({"exit_code":127,"error":"no such file"}), 127),
            (
                not_started(false),
                "run.failed",
                json!({"exit_code":126,"error":"no such file"}),
                126,
            ),
        ];
        for (ending, event_type, data, code) in cases {
            assert_eq!(ending.event_type(), event_type, "{ending:?}");
            assert_eq!(Value::from(ending.data()), data, "{ending:?}");
            assert_eq!(ending.exit_code(), code, "{ending:?}");
        }
    }
}
