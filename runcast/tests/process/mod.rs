//! `runcast exec` as a child process, talked to over its pipes, and what a server has of its run.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs that each use a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use runcast_client::{Client, FollowItem};
use runcast_event::{Cursor, Event, RunId};
use serde_json::Value;

/// Only so that a promise that is broken by hanging fails too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A command line of `runcast exec`.
pub struct Exec {
    url: String,
    spool: PathBuf,
    run: RunId,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    /// In front of it: a shell that changes what the process may do.
    under: Option<String>,
}

impl Exec {
    /// A run with its spool under `directory`, for the server at `url`.
    pub fn new(url: &str, directory: &Path) -> Self {
        Self {
            url: url.to_owned(),
            spool: directory.join("spool"),
            run: RunId::random(),
            flags: Vec::new(),
            environment: Vec::new(),
            under: None,
        }
    }

    /// Another of the same run, on another machine, so to speak.
    pub fn elsewhere(&self, directory: &Path) -> Self {
        Self { run: self.run.clone(), ..Self::new(&self.url, directory) }
    }

    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `shell` in front, in the same process.
    pub fn under(mut self, shell: &str) -> Self {
        self.under = Some(shell.to_owned());
        self
    }

    /// Where `spool` is.
    pub fn directory(&self) -> &Path {
        self.spool.parent().unwrap()
    }

    pub fn run_id(&self) -> &RunId {
        &self.run
    }

    /// Starts it with a command.
    pub fn start<S: AsRef<OsStr>>(&self, command: &[S]) -> Running {
        let line = self.command_line(command);
        let mut process = match &self.under {
            None => Command::new(&line[0]),
            Some(shell) => {
                let mut process = Command::new("sh");
                process.arg("-c").arg(format!("{shell}; exec \"$0\" \"$@\"")).arg(&line[0]);
                process
            }
        };
        process.args(&line[1..]);
        process.env_remove("RUNCAST_RUN_ID").envs(self.environment.iter().cloned());
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let watched = watch(child.id());
        Running {
            stdin: child.stdin.take(),
            stdout: Some(stdout),
            errors,
            child,
            _watched: watched,
        }
    }

    /// The whole command line, for somebody else to start.
    pub fn command_line<S: AsRef<OsStr>>(&self, command: &[S]) -> Vec<OsString> {
        let binary = env!("CARGO_BIN_EXE_runcast");
        let mut line: Vec<OsString> =
            [binary, "--url", &self.url, "exec", "--run", self.run.as_str(), "--spool-dir"]
                .map(OsString::from)
                .into();
        line.push(self.spool.clone().into());
        line.extend(self.flags.iter().map(OsString::from));
        line.push("--".into());
        line.extend(command.iter().map(|word| word.as_ref().to_owned()));
        line
    }

    /// Starts it with a shell's script.
    pub fn start_sh(&self, script: &str) -> Running {
        self.start(&["sh", "-c", script])
    }

    /// Runs a shell's script to its end.
    pub fn sh(&self, script: &str) -> Finished {
        self.start_sh(script).finish()
    }
}

/// One that runs.
pub struct Running {
    pub stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    errors: JoinHandle<String>,
    child: Child,
    _watched: mpsc::Sender<()>,
}

/// Kills a process that hangs, unless the answer is dropped before.
fn watch(pid: u32) -> mpsc::Sender<()> {
    let (watched, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            drop(Command::new("kill").args(["-KILL", &pid.to_string()]).status());
        }
    });
    watched
}

impl Running {
    /// The next line that passes through, without its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads bytes that pass through.
    pub fn read_exact(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.stdout.as_mut().unwrap().read_exact(&mut read).unwrap();
        read
    }

    /// Reads everything that passes through from now on.
    pub fn read_in_background(&mut self) -> JoinHandle<Vec<u8>> {
        let mut stdout = self.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut read = Vec::new();
            stdout.read_to_end(&mut read).unwrap();
            read
        })
    }

    /// Nobody reads the output any more.
    pub fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Says something to the child.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; the child's stdin ends.
    pub fn finish(mut self) -> Finished {
        drop(self.stdin.take());
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.stdout.take() {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        let status = self.child.wait().unwrap();
        Finished { status, stdout, stderr: self.errors.join().unwrap() }
    }
}

/// One that has ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// What passed through and was not read before.
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap()
    }
}

/// `runcast spool send`.
pub fn spool_send(directory: &Path) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_runcast"))
        .args(["spool", "send", "--spool-dir"])
        .arg(directory.join("spool"))
        .output()
        .unwrap();
    Finished {
        status: output.status,
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What is under the spool's directory.
pub fn spools(directory: &Path) -> usize {
    std::fs::read_dir(directory.join("spool")).map_or(0, Iterator::count)
}

/// Follows a run until `enough`, or its end.
pub fn events_until(url: &str, run: &RunId, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(url).unwrap();
    let mut events: Vec<Event> = Vec::new();
    let following = async {
        let mut follower = client.follow(run, Cursor::START);
        while !enough(&events) {
            match follower.next().await.expect("no end without a terminal event").unwrap() {
                FollowItem::Event(event) => {
                    assert_eq!(event.offset.get(), events.len() as u64 + 1, "lost or doubled");
                    events.push(event);
                }
                FollowItem::End { .. } => return,
                FollowItem::State(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, following).await }).unwrap();
    events
}

/// All events of a run that has ended.
pub fn events(url: &str, run: &RunId) -> Vec<Event> {
    events_until(url, run, |_| false)
}

/// The output of a run, all of it joined.
pub fn output(events: &[Event], stream: &str) -> String {
    let outputs = events.iter().filter(|event| event.event_type == "output");
    let data = outputs.map(Event::data_value);
    let of_stream = data.filter(|data| data["stream"] == stream);
    of_stream.map(|data| data["text"].as_str().unwrap().to_owned()).collect()
}

/// The types of a run's events.
pub fn types(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

/// The type and the data of the last event.
pub fn last(events: &[Event]) -> (&str, Value) {
    let event = events.last().unwrap();
    (&event.event_type, event.data_value())
}
