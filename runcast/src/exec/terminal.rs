//! Terminals: the one that the child gets, and the one that a person sits at.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpgrp};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::system;

/// The size of a terminal that no outer terminal gives one to.
const DEFAULT_SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// Whether the outer terminal is raw: lines then need a carriage return of their own.
static IS_RAW: AtomicBool = AtomicBool::new(false);

/// Whether the child has the outer terminal to itself, perhaps its whole screen.
pub(super) fn is_raw() -> bool {
    IS_RAW.load(Ordering::Relaxed)
}

/// The terminal that the child gets.
#[derive(Debug)]
pub(super) struct InnerTerminal {
    /// Our side.
    pub(super) ours: OwnedFd,
    /// The child's side.
    pub(super) childs: OwnedFd,
}

impl InnerTerminal {
    /// Makes a terminal of the outer one's size.
    pub(super) fn open() -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let childs = rustix::fs::open(name, flags, Mode::empty())?;
        tcsetwinsize(&ours, outer_size())?;
        Ok(Self { ours, childs })
    }
}

/// Gives the child's terminal the size of the outer one; its programs are told by the system.
pub(super) fn fit(ours: BorrowedFd<'_>) {
    // A terminal that is just going away needs no size.
    let _gone = tcsetwinsize(ours, outer_size());
}

fn outer_size() -> Winsize {
    let of = |fd: BorrowedFd<'_>| tcgetwinsize(fd).ok().filter(|size| size.ws_col > 0);
    of(io::stdout().as_fd())
        .or_else(|| of(io::stderr().as_fd()))
        .or_else(|| of(io::stdin().as_fd()))
        .unwrap_or(DEFAULT_SIZE)
}

/// Whether a person types into our stdin: it is a terminal, and we are in its foreground.
pub(super) fn has_keyboard() -> bool {
    let stdin = io::stdin();
    stdin.is_terminal() && tcgetpgrp(stdin.as_fd()).is_ok_and(|group| group == getpgrp())
}

/// The outer terminal, raw: every key goes to the child's terminal. Restored when dropped.
#[derive(Debug)]
pub(super) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes the terminal at stdin raw.
    pub(super) fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        IS_RAW.store(true, Ordering::Relaxed);
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Not after draining: a terminal that takes no output must not hold us.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
        IS_RAW.store(false, Ordering::Relaxed);
    }
}

/// The outer terminal's foreground, lent to the child's process group. Taken back when dropped.
///
/// Keys such as Ctrl-C and Ctrl-Z then reach the child, once, and not us.
#[derive(Debug)]
pub(super) struct LentForeground {
    terminal: File,
    group: Pid,
}

impl LentForeground {
    /// Lends the foreground of the terminal at stdin.
    pub(super) fn new(group: Pid) -> io::Result<Self> {
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let lent = Self { terminal, group };
        lent.lend()?;
        Ok(lent)
    }

    /// Lends it (again).
    pub(super) fn lend(&self) -> io::Result<()> {
        system::set_foreground(self.terminal.as_fd(), self.group)
    }

    /// Takes it back.
    pub(super) fn take_back(&self) {
        // Somebody else's by now: theirs.
        drop(system::set_foreground(self.terminal.as_fd(), getpgrp()));
    }
}

impl Drop for LentForeground {
    fn drop(&mut self) {
        self.take_back();
    }
}
