//! The binary as a child process: what it says, line by line, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;

/// Only so that what hangs fails too.
const PATIENCE: Duration = Duration::from_secs(30);

/// The command, with nothing of the environment that would change it.
pub(crate) fn runcast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runcast"));
    command.args(args).stdin(Stdio::null()).env_remove("RUNCAST_URL").env("NO_COLOR", "1");
    command
}

/// How a command ended, and what it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn ended(args: &[&str]) -> Ended {
    ended_of(runcast(args))
}

/// Runs any command to its end.
pub(crate) fn ended_of(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) out: Lines,
    pub(crate) err: Lines,
}

/// What a command says, line by line.
pub(crate) struct Lines {
    lines: Receiver<String>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (give, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                if line.map(|line| give.send(line)).is_err() {
                    break;
                }
            }
        });
        Self { lines }
    }

    /// The next line; none at the end.
    pub(crate) fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was said for {PATIENCE:?}"),
        }
    }

    /// Reads on until a line has the text.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut said = Vec::new();
        while let Some(line) = self.next() {
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
        panic!("{text:?} was not said, but {said:#?}");
    }

    /// All lines to the end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = runcast(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { child, stdin, out, err }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes as much as the command still reads.
    pub(crate) fn try_write(&mut self, text: &str) -> std::io::Result<()> {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes())
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the end, which the end of its output announces.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.out.rest();
        self.child.wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server with a data directory of its own.
pub(crate) struct Server {
    process: Running,
    pub(crate) url: String,
    pub(crate) directory: TempDir,
}

impl Server {
    /// Starts one on a free port and waits until it serves.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (process, url) = Self::serve("127.0.0.1:0", &directory);
        Self { process, url, directory }
    }

    fn serve(listen: &str, directory: &TempDir) -> (Running, String) {
        let data = directory.path().join("data");
        let args = ["serve", "--listen", listen, "--data", data.to_str().unwrap()];
        let mut process = Running::start(&args);
        let Some(line) = process.out.next() else { panic!("{:#?}", process.err.rest()) };
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        (process, url.trim_end_matches([',', '.']).to_owned())
    }

    /// `kill -9`, and another one on the same port and data after `meanwhile`.
    pub(crate) fn killed_meanwhile(&mut self, meanwhile: impl FnOnce()) {
        self.process.kill();
        meanwhile();
        let listen = self.url.trim_start_matches("http://").to_owned();
        (self.process, self.url) = Self::serve(&listen, &self.directory);
    }

    pub(crate) fn data(&self) -> String {
        self.directory.path().join("data").to_str().unwrap().to_owned()
    }

    /// Ends it in good order and gives its data directory back.
    pub(crate) fn stop(mut self) -> TempDir {
        self.process.terminate();
        let status = self.process.wait();
        assert!(status.success(), "{status}: {:#?}", self.process.err.rest());
        self.directory
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Runs a command against this server.
    pub(crate) fn ended(&self, args: &[&str]) -> Ended {
        ended(&[args, &["--url", &self.url]].concat())
    }

    /// Runs a command that must succeed; what it said.
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let ended = self.ended(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    /// Starts a command against this server.
    pub(crate) fn running(&self, args: &[&str]) -> Running {
        Running::start(&[args, &["--url", &self.url]].concat())
    }

    /// Publishes these lines.
    pub(crate) fn publish(&self, run: &str, lines: &str) {
        let mut publish = self.running(&["publish", run]);
        publish.write(lines);
        publish.close_stdin();
        let status = publish.wait();
        assert!(status.success(), "{status}: {:#?}", publish.err.rest());
    }
}
