//! How the processes of the child's group stand: at work, held still, or gone.
//!
//! A signal that was sent says nothing of what it did, so that is looked up in `/proc`. Processes
//! that are dead and not reaped count as gone: nobody may ever reap them.

use std::fs;
use std::io;

use rustix::process::Pid;

/// The living processes of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Living {
    pub(super) at_work: usize,
    pub(super) stopped: usize,
    /// In a wait of the kernel's that no signal ends: after a stopping one was sent, they stop before
    /// they run on. One that waits for its vfork is there for as long as the new process is stopped.
    waiting: usize,
}

impl Living {
    /// Counts a group's processes.
    ///
    /// # Errors
    /// On a system that does not show its processes.
    pub(super) fn of(group: Pid) -> io::Result<Self> {
        let mut living = Self::default();
        for entry in fs::read_dir("/proc")? {
            let Ok(entry) = entry else { continue };
            if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            // One that has ended since it was listed is gone.
            let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
            match state_in(&stat, group) {
                None | Some(b'Z' | b'X' | b'x') => {}
                Some(b'T' | b't') => living.stopped += 1,
                Some(b'D') => living.waiting += 1,
                Some(_) => living.at_work += 1,
            }
        }
        Ok(living)
    }

    /// Whether all hold still, after they were sent a signal to stop.
    pub(super) fn is_stopped(self) -> bool {
        self.at_work == 0 && self.stopped + self.waiting > 0
    }

    /// Whether none is left.
    pub(super) fn is_gone(self) -> bool {
        self == Self::default()
    }
}

/// The state of a process, from its line in `/proc`, if it is of the group.
fn state_in(stat: &[u8], group: Pid) -> Option<u8> {
    // The name in parentheses can have any character; behind it are the state, the parent, the group.
    let behind_name = memchr::memrchr(b')', stat)? + 1;
    let mut fields = stat[behind_name..].split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let state = *fields.next()?.first()?;
    let of_group: i32 = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
    (of_group == group.as_raw_pid()).then_some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_process_is_found_behind_any_name() {
        let group = Pid::from_raw(41).unwrap();
        assert_eq!(state_in(b"42 (a) b (Z) 7 8) T 1 41 41 0 -1", group), Some(b'T'));
        assert_eq!(state_in(b"42 (sleep) S 1 42 42 0 -1", group), None);
        for broken in [&b""[..], b"42", b"42 (a)", b"42 (a) S", b"42 (a) S 1", b"42 (a) S 1 x"] {
            assert_eq!(state_in(broken, group), None);
        }
    }

    #[test]
    fn this_process_is_at_work_in_its_group() {
        let living = Living::of(rustix::process::getpgrp()).unwrap();
        assert!(living.at_work > 0 && !living.is_stopped() && !living.is_gone());
    }

    #[test]
    fn a_shell_that_begins_a_command_all_the_time_can_be_held_still_at_any_moment() {
        use std::os::unix::process::CommandExt as _;
        use std::time::{Duration, Instant};

        use rustix::process::{Signal, kill_process_group};

        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "i=0; while [ $((i+=1)) -lt 100000 ]; do /bin/true; done"])
            .process_group(0);
        let mut shell = shell.spawn().unwrap();
        let group = Pid::from_raw(shell.id().cast_signed()).unwrap();
        for _ in 0..300 {
            kill_process_group(group, Signal::STOP).unwrap();
            let began = Instant::now();
            while !Living::of(group).unwrap().is_stopped() {
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", Living::of(group));
            }
            kill_process_group(group, Signal::CONT).unwrap();
        }
        kill_process_group(group, Signal::KILL).unwrap();
        shell.wait().unwrap();
    }
}
