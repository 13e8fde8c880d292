//! `runcast exec` at a terminal: keys reach the child once, and the terminal is left as it was.
//!
//! The terminal is made by Python's standard library, which holds its other end.

#![allow(clippy::unwrap_used, reason = "tests")]

mod process;
mod server;

use std::ffi::OsString;
use std::process::Command;

use process::{Exec, events, events_until, last};
use runcast_client::{Client, CommandRequest};
use serde_json::json;
use server::Server;

/// Runs its arguments in a terminal of their own, types each of `KEYS` when a line with its word
/// has come, and prints what came and the exit code.
const TERMINAL: &str = r#"
import os, pty, sys, termios
keys = dict(pair.split('=') for pair in os.environ['KEYS'].split(','))
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b''
while True:
    try:
        read = os.read(terminal, 4096)
    except OSError:
        break
    seen += read
    for word in [word for word in keys if (word + '\r\n').encode() in seen]:
        os.write(terminal, bytes.fromhex(keys.pop(word)))
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen.decode())
print('code', os.waitstatus_to_exitcode(status))
"#;

fn at_a_terminal(line: &[OsString], keys: &str) -> String {
    let mut command = Command::new("python3");
    command.arg("-c").arg(TERMINAL).args(line).env("KEYS", keys).env_remove("RUNCAST_RUN_ID");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Counts the interrupts that it gets until it is told to end.
const COUNTS_INTERRUPTS: &str = "n=0; trap 'n=$((n+1)); echo got' INT; echo up
    while :; do read line || continue; [ \"$line\" = end ] && break; done; echo n=$n; exit 3";

#[test]
fn an_interrupt_that_is_typed_reaches_the_child_once() {
    for pty in ["auto", "never"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        let exec = Exec::new(&server.url(), directory.path()).flags(&["--pty", pty]);
        // 03 is Ctrl-C; then the word and Enter.
        let line = exec.command_line(&["sh", "-c", COUNTS_INTERRUPTS]);
        let seen = at_a_terminal(&line, "up=03,got=656e640a");
        assert!(seen.contains("n=1\r\n") && seen.ends_with("code 3\n"), "{pty}: {seen}");
        let events = events(&server.url(), exec.run_id());
        assert_eq!(last(&events), ("run.failed", json!({"exit_code":3})), "{pty}");
    }
}

#[test]
fn a_child_that_an_interrupt_kills_was_cancelled() {
    for pty in ["auto", "never"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        let exec = Exec::new(&server.url(), directory.path()).flags(&["--pty", pty]);
        let line = exec.command_line(&["sh", "-c", "echo up; read line"]);
        let seen = at_a_terminal(&line, "up=03");
        assert!(seen.ends_with("code 130\n"), "{pty}: {seen}");
        let events = events(&server.url(), exec.run_id());
        assert_eq!(last(&events).0, "run.cancelled", "{pty}");
    }
}

#[test]
fn the_terminal_is_as_it_was_afterwards_and_the_child_has_its_size() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::started(directory.path());
    let exec = Exec::new(&server.url(), directory.path()).flags(&["--quiet"]);
    let line = exec.command_line(&["sh", "-c", "stty size; stty -echo raw"]);
    let words = line.iter().map(|word| format!("'{}'", word.to_string_lossy()));
    let script = format!(
        "stty rows 33 cols 99; before=$(stty -g); {}; [ \"$(stty -g)\" = \"$before\" ] && echo same",
        words.collect::<Vec<_>>().join(" ")
    );
    let seen = at_a_terminal(&["sh", "-c", &script].map(OsString::from), "none=00");
    assert!(seen.contains("33 99\r\n") && seen.contains("same\r\n"), "{seen}");
}

#[test]
fn a_pause_at_a_terminal_holds_the_child_and_not_exec() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for pty in ["auto", "never"] {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        let exec = Exec::new(&server.url(), directory.path()).flags(&["--pty", pty]);
        let go = directory.path().join("go");
        let script = format!("until [ -e {} ]; do sleep 0.01; done; exit 3", go.display());
        let line = exec.command_line(&["sh", "-c", &script]);
        let terminal = std::thread::spawn(move || at_a_terminal(&line, "nothing=00"));
        let client = Client::new(&server.url()).unwrap();
        for name in ["pause", "resume"] {
            events_until(&server.url(), exec.run_id(), |events| !events.is_empty());
            let request = CommandRequest { name: name.to_owned(), ..CommandRequest::default() };
            let asked = runtime.block_on(client.command(exec.run_id(), &request)).unwrap();
            events_until(&server.url(), exec.run_id(), |events| {
                events.last().is_some_and(|event| {
                    event.event_type == "command.done"
                        && event.data_value()["command"] == asked.command
                })
            });
        }
        std::fs::write(&go, "").unwrap();
        let seen = terminal.join().unwrap();
        assert!(seen.ends_with("code 3\n"), "{pty}: {seen}");
        let events = events(&server.url(), exec.run_id());
        assert_eq!(last(&events), ("run.failed", json!({"exit_code":3})), "{pty}");
    }
}
