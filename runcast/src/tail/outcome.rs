//! The exit code that tells a run's end to a shell.

use runcast_client::RunInfo;
use runcast_event::Event;

use crate::exec::signal_name;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    completed: bool,
    exit_code: Option<i64>,
    signal: Option<String>,
}

impl Outcome {
    /// Of the run that this terminal event ended.
    pub(crate) fn of_event(event: &Event) -> Self {
        let data = event.data_value();
        Self {
            completed: event.event_type == "run.completed",
            exit_code: data.get("exit_code").and_then(serde_json::Value::as_i64),
            signal: data.get("signal").and_then(|name| name.as_str()).map(ToOwned::to_owned),
        }
    }

    /// Of a run that had ended before.
    pub(crate) fn of_run(run: &RunInfo) -> Self {
        Self {
            completed: run.status == "completed",
            exit_code: run.exit_code,
            signal: run.signal.clone(),
        }
    }

    /// 0 if it completed, else its own code, 128 + signal, or 1.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.completed {
            return 0;
        }
        let own = self.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0);
        own.or_else(|| self.signal.as_deref().and_then(signal_code)).unwrap_or(1)
    }
}

/// 128 and the signal's number, as shells count.
fn signal_code(name: &str) -> Option<u8> {
    let number = (1..=SIGNAL_MAX).find(|number| signal_name((*number).into()) == name)?;
    Some(128 + number)
}

/// The highest number of a signal.
const SIGNAL_MAX: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(event_type: &str, data: &str) -> u8 {
        let json = format!(
            r#"{{"offset":1,"type":"{event_type}","time":"2026-11-20T21:16:00Z","data":{data}}}"#
        );
        Outcome::of_event(&Event::from_json(json.as_bytes()).unwrap()).exit_code()
    }

    #[test]
    fn the_exit_code_tells_how_the_run_ended() {
        assert_eq!(exit_code("run.completed", r#"{"exit_code":0}"#), 0);
        assert_eq!(exit_code("run.completed", "null"), 0);
        assert_eq!(exit_code("run.failed", r#"{"exit_code":3}"#), 3);
        assert_eq!(exit_code("run.failed", r#"{"error":"x"}"#), 1);
        assert_eq!(exit_code("run.failed", r#"{"exit_code":0}"#), 1);
        assert_eq!(exit_code("run.failed", r#"{"exit_code":256}"#), 1);
        assert_eq!(exit_code("run.cancelled", r#"{"signal":"SIGTERM"}"#), 143);
        assert_eq!(exit_code("run.failed", r#"{"signal":"SIGBUS"}"#), 135);
        assert_eq!(exit_code("run.failed", r#"{"signal":"?"}"#), 1);
        assert_eq!(exit_code("run.crashed", r#"{"exit_code":137,"signal":"SIGKILL"}"#), 137);
    }
}
