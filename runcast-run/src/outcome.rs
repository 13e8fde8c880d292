//! What a run has been asked and asks, for whoever delivers, acknowledges and answers.

use runcast_event::Draft;
use serde_json::json;

use crate::check::Refusal;
use crate::command::{Command, PAUSE, RESUME, STOP};
use crate::input::Input;
use crate::state::RunState;

impl RunState {
    /// The inputs that are open, and the newest others.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.kept().into_iter().flat_map(|work| work.inputs.iter())
    }

    /// The commands that are open, and the newest others.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.kept().into_iter().flat_map(|work| work.commands.iter())
    }

    /// An input, if it is among those that the state has.
    #[must_use]
    pub fn input(&self, id: &str) -> Option<&Input> {
        self.kept().and_then(|work| work.inputs.find(|known| *known.input == *id))
    }

    /// A command, if it is among those that the state has.
    #[must_use]
    pub fn command(&self, id: &str) -> Option<&Command> {
        self.kept().and_then(|work| work.commands.find(|known| *known.command == *id))
    }

    /// The command that asking for this would ask for again: one with the same key, or, as two stops
    /// are one, a stop that is neither refused nor expired.
    #[must_use]
    pub fn same_command(&self, name: &str, key: Option<&str>) -> Option<&Command> {
        use crate::command::CommandStatus::{Delivered, Done, Requested};
        let has_key = |known: &Command| key.is_some() && known.key.as_deref() == key;
        let is_stop = |known: &Command| {
            name == STOP
                && &*known.name == STOP
                && matches!(known.status, Requested | Delivered | Done)
        };
        self.kept()?.commands.find(|known| has_key(known) || is_stop(known))
    }

    /// The events that are true of a run once it has carried out a command, to be appended together:
    /// that it is done, and that the run holds still or goes on, unless its producer said so itself.
    /// A stop is done before the run's end, which only its producer knows.
    ///
    /// # Errors
    /// When there is no such command, or it has its outcome.
    pub fn carried_out(&self, id: &str) -> Result<Vec<Draft>, Refusal> {
        let command = self.awaiting(id)?;
        let is_paused = self.standing.is_paused();
        let change = match &*command.name {
            PAUSE if !is_paused => Some("run.paused"),
            RESUME if is_paused => Some("run.resumed"),
            _ => None,
        };
        let change = change.map(|event_type| Draft::new(event_type, json!({})));
        let done = Draft::new("command.done", json!({ "command": id }));
        Ok(change.into_iter().chain([done]).collect())
    }

    /// A command that has no outcome yet.
    pub(crate) fn awaiting(&self, id: &str) -> Result<&Command, Refusal> {
        match self.command(id) {
            Some(command) if command.is_open() => Ok(command),
            Some(command) => Err(Refusal::CommandClosed {
                command: id.to_owned(),
                name: command.name.to_string(),
                status: command.status,
            }),
            None => Err(Refusal::CommandUnknown { command: id.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Status;
    use crate::testing::{add, fold};

    fn ask(id: &str, name: &str) -> Value {
        json!({"type": "command.requested", "data": {"command": id, "name": name}})
    }

    /// Says for the run that it has carried out a command, and gives the types of what was said.
    fn carry_out(state: &mut RunState, id: &str) -> Vec<String> {
        let drafts = state.carried_out(id).unwrap();
        let types = drafts.iter().map(|draft| draft.event_type.to_string()).collect();
        for draft in drafts {
            let json: Value = serde_json::from_str(&draft.to_json()).unwrap();
            let payload = crate::testing::event(1, &json);
            assert_eq!(state.check(&payload), Ok(()));
            add(state, &json);
        }
        types
    }

    #[test]
    fn a_run_that_has_carried_out_a_pause_is_paused_and_goes_on_after_a_resume() {
        let mut state =
            fold(&[json!({"type": "run.started"}), ask("1", "pause"), ask("2", "resume")]);
        assert_eq!(carry_out(&mut state, "1"), ["run.paused", "command.done"]);
        assert_eq!(state.status(), Status::Paused);
        assert_eq!(carry_out(&mut state, "2"), ["run.resumed", "command.done"]);
        assert_eq!(state.status(), Status::Running);
        add(&mut state, &ask("3", "pause"));
        add(&mut state, &json!({"type": "run.paused"}));
        assert_eq!(carry_out(&mut state, "3"), ["command.done"]);
        add(&mut state, &ask("4", "stop"));
        assert_eq!(carry_out(&mut state, "4"), ["command.done"]);
        assert_eq!(state.status(), Status::Cancelling);
        assert_eq!(state.carried_out("4").unwrap_err().code(), "command_closed");
        assert_eq!(state.carried_out("5").unwrap_err().code(), "command_unknown");
        assert_eq!(state.commands().filter(|command| command.is_open()).count(), 0);
    }
}
