//! The command line of `runcast exec`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use runcast_event::RunId;

/// Run a command as a live run: its output passes through unchanged and is published
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
The command gets RUNCAST_RUN_ID, RUNCAST_URL and RUNCAST_EVENTS, a pipe that takes typed events,
one line of JSON each:
  echo '{\"type\":\"step.started\",\"step\":\"fetch\"}' > \"$RUNCAST_EVENTS\"
From the pipe RUNCAST_COMMANDS it can read what it is asked, as events too, one line of JSON each. What
it needs not do itself is done for it: stop is SIGTERM and, after the grace, SIGKILL; pause and resume
are SIGSTOP and SIGCONT.

It never notices the server: while that is away, events wait on disk and are sent in order later.
The exit code is the command's; 128 + signal when it was killed, 127 when it was not found, 126 when
it cannot be run. exec ends when the command has ended and its pipes are closed, or have been silent
for 2 seconds if something in the background keeps them open.

Examples:
  runcast exec -- python agent.py
  runcast exec --workflow nightly --tag prod -- make all
  runcast exec --pty never --no-wait -- ./batch.sh")]
pub(crate) struct Args {
    /// The run's id; a new one by default
    #[arg(long)]
    pub(super) run: Option<RunId>,
    /// Which workflow it is a run of
    #[arg(long)]
    pub(super) workflow: Option<String>,
    /// A name for people; the command by default
    #[arg(long)]
    pub(super) name: Option<String>,
    /// What it can be found by; may be repeated
    #[arg(long = "tag")]
    pub(super) tags: Vec<String>,
    /// Label every event as one of several parallel attempts
    #[arg(long)]
    pub(super) variation: Option<String>,
    /// Give the command a terminal; auto does when stdout is one
    #[arg(long, value_enum, default_value_t = PtyMode::Auto)]
    pub(super) pty: PtyMode,
    /// How long the command has to stop when asked to, before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(super) cancel_grace: Duration,
    /// Do not hear what the run is asked: pause, resume, stop, set
    #[arg(long)]
    pub(super) no_commands: bool,
    /// How long this process may be out of the server's reach until the run counts as crashed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = lost_after)]
    pub(super) lost_after: Duration,
    /// Print nothing but the command's output and problems
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Do not wait at the end until the server has all events
    #[arg(long)]
    pub(super) no_wait: bool,
    /// How long to wait at the end until the server has all events
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(super) drain_timeout: Duration,
    /// Publish the values of variables named *_PASSWORD, *_SECRET, *_TOKEN, *_API_KEY
    #[arg(long)]
    pub(super) no_redact: bool,
    #[command(flatten)]
    pub(super) spool: SpoolDir,
    /// The most bytes of events that wait on disk; more are dropped and told of
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = bytes)]
    pub(super) spool_bytes_max: u64,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<OsString>,
}

/// Where spools are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SpoolDir {
    /// Where events wait on disk [default: $XDG_STATE_HOME/runcast/spool]
    #[arg(long = "spool-dir", value_name = "DIR", env = "RUNCAST_SPOOL_DIR")]
    dir: Option<PathBuf>,
}

impl SpoolDir {
    /// The directory of all spools.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(runcast_client::spool::default_root)
    }
}

/// Whether the command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PtyMode {
    /// When stdout is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Reads a time such as `500ms`, `10s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number with ms, s, m or h, such as 500ms or 10s".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(end);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3_600),
        _ => return Err(wrong()),
    };
    Ok(unit * number)
}

/// Reads a time that is not shorter than what a busy machine needs.
fn lost_after(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < LOST_AFTER_MIN {
        return Err(format!("must be at least {LOST_AFTER_MIN:?}"));
    }
    Ok(time)
}

/// The shortest silence that can mean that a process is lost.
const LOST_AFTER_MIN: Duration = Duration::from_secs(1);

/// Reads a number of bytes such as `65536`, `64KiB`, `100MiB`, `1GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "must be a number of bytes, such as 65536, 64KiB, 100MiB or 1GiB".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_bytes_are_read_with_their_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        for wrong in ["", "10", "s", "-1s", "1.5s", "10 s", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "1kb", "-1", "99999999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
