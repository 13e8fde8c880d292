//! The command as a process: started in a group of its own, waited for, signalled.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_current_process_group,
    kill_process_group, waitid,
};

use super::args::PtyMode;
use super::system;
use super::terminal::{InnerTerminal, LentForeground, has_keyboard};

/// A process that was started.
#[derive(Debug)]
pub(super) struct Child {
    /// The process, which leads its group.
    pub(super) pid: Pid,
    /// What it prints, until somebody takes it to read: nobody else may keep it open.
    pub(super) stdout: Option<OwnedFd>,
    /// Its errors, where they are apart from its terminal.
    pub(super) stderr: Option<OwnedFd>,
    /// Its terminal, if it has one.
    pub(super) terminal: Option<OwnedFd>,
    /// Whether keys that are typed here go to that terminal.
    pub(super) takes_keys: bool,
    /// Without a terminal of its own it has the foreground of ours.
    foreground: Option<LentForeground>,
}

/// Starts the command with other environment: variables that have no value are taken out.
///
/// # Errors
/// What the system says: not found, not executable, no room for a process.
pub(super) fn start(
    command: &[OsString],
    environment: &[(&str, Option<OsString>)],
    pty: PtyMode,
) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::inherit());
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let wants_terminal = match pty {
        PtyMode::Always => true,
        PtyMode::Never => false,
        PtyMode::Auto => io::stdout().is_terminal(),
    };
    if wants_terminal { start_in_terminal(command, pty) } else { start_on_pipes(command) }
}

fn start_on_pipes(mut command: Command) -> io::Result<Child> {
    let keyboard = has_keyboard();
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut process = command.spawn()?;
    let pid = pid_of(&process)?;
    let foreground = if keyboard { LentForeground::new(pid).ok() } else { None };
    if foreground.is_some() {
        // It may have asked for input before it had the foreground, and been stopped for that.
        signal(pid, Signal::CONT);
    }
    let stdout = process.stdout.take().map(OwnedFd::from);
    let stderr = process.stderr.take().map(OwnedFd::from);
    Ok(Child { pid, stdout, stderr, terminal: None, takes_keys: false, foreground })
}

fn start_in_terminal(mut command: Command, pty: PtyMode) -> io::Result<Child> {
    let takes_keys = has_keyboard();
    let terminal = InnerTerminal::open()?;
    command.stdout(terminal.childs.try_clone()?);
    if io::stdin().is_terminal() {
        command.stdin(terminal.childs.try_clone()?);
    }
    let joins_stderr = pty == PtyMode::Always || io::stderr().is_terminal();
    if joins_stderr {
        command.stderr(terminal.childs.try_clone()?);
    } else {
        command.stderr(Stdio::piped());
    }
    system::own_session(&mut command);
    let mut process = command.spawn()?;
    // Our copies of the child's side go, or the terminal would never end.
    drop((command, terminal.childs));
    let pid = pid_of(&process)?;
    let stderr = process.stderr.take().map(OwnedFd::from);
    let stdout = Some(terminal.ours.try_clone()?);
    let terminal = Some(terminal.ours);
    Ok(Child { pid, stdout, stderr, terminal, takes_keys, foreground: None })
}

fn pid_of(process: &std::process::Child) -> io::Result<Pid> {
    i32::try_from(process.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the process has no id"))
}

impl Child {
    /// What waits for the process; for a thread of its own.
    pub(super) fn waiter(&mut self) -> Waiter {
        Waiter { pid: self.pid, foreground: self.foreground.take() }
    }

    /// Whether a person at a terminal can send it signals that we do not see.
    pub(super) fn is_interactive(&self) -> bool {
        self.takes_keys || self.foreground.is_some()
    }
}

/// Waits for a process.
#[derive(Debug)]
pub(super) struct Waiter {
    pid: Pid,
    foreground: Option<LentForeground>,
}

impl Waiter {
    /// Waits until the process has ended. It is not reaped: its id stays its own, so that its group
    /// can be signalled without hitting another.
    ///
    /// When it is stopped in our terminal's foreground, as by Ctrl-Z, we stop too, and go on with it;
    /// but not when it was held still by SIGSTOP, as for a pause: somebody must hear when it is to go
    /// on.
    pub(super) fn wait(self) -> io::Result<WaitIdStatus> {
        let mut options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        if self.foreground.is_some() {
            options |= WaitIdOptions::STOPPED;
        }
        loop {
            let Some(status) = self.wait_for(options)? else { continue };
            if !status.stopped() {
                return Ok(status);
            }
            // The same again without NOWAIT, so that it is told once.
            self.wait_for(WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?;
            if status.stopping_signal() == Some(Signal::STOP.as_raw()) {
                continue;
            }
            if let Some(foreground) = &self.foreground {
                foreground.take_back();
                // A shell takes the terminal here, and gives it back with SIGCONT.
                let _refused_without_a_shell = kill_current_process_group(Signal::TSTP);
                drop(foreground.lend());
                signal(self.pid, Signal::CONT);
            }
        }
    }

    fn wait_for(&self, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Err(rustix::io::Errno::INTR) => {}
                answer => return Ok(answer?),
            }
        }
    }
}

/// Sends a signal to the process's whole group.
pub(super) fn signal(pid: Pid, signal: Signal) {
    // A group that is gone needs no signal.
    let _gone = kill_process_group(pid, signal);
}
