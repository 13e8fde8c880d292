//! The few calls to the system that no safe library has: each with why it is sound.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use rustix::process::Pid;

/// Makes the command begin a session of its own, whose terminal is the one at its stdout.
pub(super) fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. setsid and ioctl are,
    // and nothing here allocates or takes a lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(BorrowedFd::borrow_raw(libc::STDOUT_FILENO))?;
            Ok(())
        });
    }
}

/// Whether this process was started with the signal ignored, as `nohup` does with SIGHUP.
pub(super) fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action the call only writes the current one, to memory that is ours
    // and large enough; all of it was zeroed before.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Makes `group` the one that the terminal's keys and input go to.
///
/// # Errors
/// What the system says, such as that this is not our terminal.
pub(super) fn set_foreground(terminal: BorrowedFd<'_>, group: Pid) -> io::Result<()> {
    let mut blocked = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // A process in the background would be stopped by SIGTTOU for this call.
    // SAFETY: the sets are ours, are initialised by sigemptyset or the call itself, and only this
    // thread's mask changes, which is put back below.
    unsafe {
        libc::sigemptyset(blocked.as_mut_ptr());
        libc::sigaddset(blocked.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr());
    }
    let answer = rustix::termios::tcsetpgrp(terminal, group);
    // SAFETY: `before` was filled by the call above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
    }
    Ok(answer?)
}
