//! A server, and a run under `exec` that is talked to.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs that each use a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use runcast_client::{Client, CommandInfo, CommandRequest};
use runcast_event::{Event, RunId};
use serde_json::json;

use crate::process::{Exec, Running, events, events_until, types};
use crate::server::Server;

/// A child that says what it hears in `RUNCAST_COMMANDS`, and that it has done it.
pub const LISTENER: &str = r#"
import json, os, sys
print("up", flush=True)
with open(os.environ["RUNCAST_COMMANDS"]) as commands, open(os.environ["RUNCAST_EVENTS"], "w") as events:
    for line in commands:
        data = json.loads(line)["data"]
        print(json.dumps(data.get("args", data.get("answer"))), flush=True)
        if "command" in data:
            events.write(json.dumps({"type": "command.done", "data": {"command": data["command"]}}) + "\n")
            events.flush()
"#;

pub struct World {
    pub directory: tempfile::TempDir,
    pub server: Server,
    pub runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::started(directory.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { directory, server, runtime }
    }

    pub fn exec(&self) -> Exec {
        Exec::new(&self.server.url(), self.directory.path())
    }

    pub fn client(&self) -> Client {
        Client::new(&self.server.url()).unwrap()
    }

    /// Asks, once there is such a run.
    pub fn request(&self, run: &RunId, request: &CommandRequest) -> CommandInfo {
        events_until(&self.server.url(), run, |events| !events.is_empty());
        self.runtime.block_on(self.client().command(run, request)).unwrap()
    }

    /// Asks for it as ada.
    pub fn ask(&self, exec: &Exec, name: &str) -> CommandInfo {
        let request = CommandRequest {
            name: name.to_owned(),
            by: Some("ada".to_owned()),
            ..CommandRequest::default()
        };
        self.request(exec.run_id(), &request)
    }

    pub fn set(&self, exec: &Exec, number: u64) -> CommandInfo {
        let args = Some(json!(number));
        let request = CommandRequest { name: "set".to_owned(), args, ..CommandRequest::default() };
        self.request(exec.run_id(), &request)
    }

    /// The events up to the one of this type for this command.
    pub fn until(&self, exec: &Exec, event_type: &str, command: &CommandInfo) -> Vec<Event> {
        let is_it = |event: &Event| {
            event.event_type == event_type && event.data_value()["command"] == command.command
        };
        let until = |events: &[Event]| events.last().is_some_and(is_it);
        let events = events_until(&self.server.url(), exec.run_id(), until);
        assert!(events.last().is_some_and(is_it), "{:?}", types(&events));
        events
    }

    /// The events when there is one of this type.
    pub fn until_type(&self, exec: &Exec, event_type: &str) -> Vec<Event> {
        events_until(&self.server.url(), exec.run_id(), |events| {
            events.last().is_some_and(|event| event.event_type == event_type)
        })
    }

    pub fn events(&self, exec: &Exec) -> Vec<Event> {
        events(&self.server.url(), exec.run_id())
    }

    /// The server is killed, and another one is there.
    pub fn restart(&mut self) {
        self.server.kill();
        self.server.start();
    }
}

pub fn listener(exec: &Exec) -> Running {
    let mut running = exec.start(&["python3", "-c", LISTENER]);
    assert_eq!(running.line(), "up");
    running
}

/// The directory of the only spool.
pub fn spool_of(world: &World) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(world.directory.path().join("spool")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// The state that the system shows of a process; none when it is gone.
pub fn state_of(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub fn is_gone(pid: &str) -> bool {
    state_of(pid).is_none_or(|state| state == 'Z')
}

pub fn of_type<'a>(events: &'a [Event], event_type: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.event_type == event_type).collect()
}

pub fn place(events: &[Event], is_it: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(is_it).unwrap()
}
