//! What a client's messages mean: each becomes one action, or a refusal that leaves the connection
//! open.
//!
//! Owns which runs the client is subscribed to. Pure: never touches a socket, a hub or a clock.

use std::collections::HashSet;

use runcast_event::{Cursor, EventFilter, FILTER_FIELDS, Offset, ProducerId, RunId, Timestamp};
use runcast_log::{Append, ProducerStamp};
use serde_json::value::RawValue;

use super::SUBSCRIPTIONS_MAX;
use super::fields::{Fields, refused, text_of};
use crate::api::{Scope, Target};
use crate::problem::{Code, Problem};
use crate::transport::view::View;
use crate::transport::websocket::Close;
use crate::transport::websocket::message::RequestId;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Follow a run, to which the session is subscribed from now on.
    Subscribe { id: Option<RequestId>, run: RunId, cursor: Cursor, scope: Scope, view: View },
    /// Follow it no more, if it was followed.
    Unsubscribe { id: Option<RequestId>, run: RunId },
    /// Append events, and answer when they are durable.
    Publish { id: RequestId, append: Append },
    /// Answer a ping.
    Pong { id: Option<RequestId> },
    /// Say what is wrong with the message; it has changed nothing.
    Refuse { id: Option<RequestId>, run: Option<RunId>, problem: Problem },
    /// End the connection.
    Close(Close),
}

/// One connection's subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Session {
    runs: HashSet<RunId>,
}

impl Session {
    /// Takes a message.
    pub(crate) fn take(&mut self, message: &str, now: Timestamp) -> Action {
        let fields: Fields<'_> = match serde_json::from_str(message) {
            Ok(fields) => fields,
            Err(error) if error.is_data() => {
                let problem = Problem::new(Code::InvalidMessage, "a message is a JSON object");
                return Action::Refuse { id: None, run: None, problem };
            }
            Err(_) => return Action::Close(Close::Invalid("a message is not JSON")),
        };
        // An answer names what it answers as far as that could be read.
        let id = fields.get("id").map(RequestId::new);
        let run = fields.run().ok();
        let action = match &id {
            Some(None) => {
                Err(refused("id", "must be a text of at most 64 bytes or a whole number"))
            }
            _ => self.action(&fields, id.clone().flatten(), now),
        };
        action.unwrap_or_else(|problem| Action::Refuse { id: id.flatten(), run, problem })
    }

    /// The subscription to the run is over.
    pub(crate) fn ended(&mut self, run: &RunId) {
        self.runs.remove(run);
    }

    fn action(
        &mut self,
        fields: &Fields<'_>,
        id: Option<RequestId>,
        now: Timestamp,
    ) -> Result<Action, Problem> {
        let kind = text_of(fields.required("type")?, "type")?;
        match &*kind {
            "subscribe" => {
                fields
                    .check("", &["type", "id", "run", "after", "filter", "coalesce", "mailbox"])?;
                self.subscribe(fields, id)
            }
            "unsubscribe" => {
                fields.check("", &["type", "id", "run"])?;
                let run = fields.run()?;
                self.runs.remove(&run);
                Ok(Action::Unsubscribe { id, run })
            }
            "publish" => {
                let known =
                    ["type", "id", "run", "events", "producer", "expected_offset", "create"];
                fields.check("", &known)?;
                publish(fields, id, now)
            }
            "ping" => {
                fields.check("", &["type", "id"])?;
                Ok(Action::Pong { id })
            }
            _ => Err(refused("type", "must be subscribe, unsubscribe, publish or ping")),
        }
    }

    fn subscribe(&mut self, fields: &Fields<'_>, id: Option<RequestId>) -> Result<Action, Problem> {
        let run = fields.run()?;
        let cursor = match fields.text("after", "after")? {
            None => Cursor::START,
            Some(text) => {
                text.parse().map_err(|error| refused("after", format!("is not valid: {error}")))?
            }
        };
        let (scope, view) = scope(fields)?;
        if self.runs.contains(&run) {
            let detail = "the connection is subscribed to this run already; unsubscribe first";
            return Err(Problem::new(Code::AlreadySubscribed, detail));
        }
        if self.runs.len() >= SUBSCRIPTIONS_MAX {
            let detail = format!("a connection has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(
                Problem::new(Code::TooManySubscriptions, detail).with("max", SUBSCRIPTIONS_MAX)
            );
        }
        self.runs.insert(run.clone());
        Ok(Action::Subscribe { id, run, cursor, scope, view })
    }
}

/// What of the run is wanted.
fn scope(fields: &Fields<'_>) -> Result<(Scope, View), Problem> {
    if !fields.switch("mailbox")?.unwrap_or(false) {
        let coalesce = fields.switch("coalesce")?.unwrap_or(false);
        return Ok((Scope::Events, View { filter: filter(fields)?, coalesce }));
    }
    for field in ["filter", "coalesce"] {
        if fields.get(field).is_some() {
            return Err(refused(field, "does not go with mailbox: a run's mailbox is read whole"));
        }
    }
    Ok((Scope::Mailbox, Scope::mail()))
}

/// Which events are wanted: of each field any of the values.
fn filter(fields: &Fields<'_>) -> Result<EventFilter, Problem> {
    let mut filter = EventFilter::default();
    let Some(value) = fields.get("filter") else { return Ok(filter) };
    let wanted = Fields::of(value, "filter")?;
    wanted.check("filter.", &FILTER_FIELDS)?;
    for field in FILTER_FIELDS {
        let path = format!("filter.{field}");
        let Some(value) = wanted.get(field) else { continue };
        let values: Vec<&RawValue> = match value.get().as_bytes() {
            [b'[', ..] => {
                serde_json::from_str(value.get()).map_err(|error| refused(&path, error))?
            }
            _ => vec![value],
        };
        for value in values {
            // A stage may be named by its number.
            let is_number = field == "stage" && value.get().parse::<u32>().is_ok();
            let text = if is_number { value.get().into() } else { text_of(value, &path)? };
            filter.allow(field, &text).map_err(|error| refused(&path, error.problem))?;
        }
    }
    Ok(filter)
}

fn publish(fields: &Fields<'_>, id: Option<RequestId>, now: Timestamp) -> Result<Action, Problem> {
    let id = id.ok_or_else(|| refused("id", "is missing: a publish is answered by it"))?;
    let target = Target {
        run: fields.run()?,
        create: fields.switch("create")?.unwrap_or(true),
        expected_last: fields.number("expected_offset", "expected_offset")?.map(Offset::new),
        producer: fields.get("producer").map(producer).transpose()?,
    };
    let events = fields.required("events")?.get();
    if !events.starts_with('[') {
        return Err(refused("events", "must be an array"));
    }
    Ok(Action::Publish { id, append: target.append(events.as_bytes(), now)? })
}

fn producer(value: &RawValue) -> Result<ProducerStamp, Problem> {
    let fields = Fields::of(value, "producer")?;
    fields.check("producer.", &["id", "epoch", "sequence"])?;
    let missing = |name: &str| refused(name, "is missing: id, epoch and sequence go together");
    let id = fields.text("id", "producer.id")?.ok_or_else(|| missing("producer.id"))?;
    let number = |field: &str, name: &str| fields.number(field, name)?.ok_or_else(|| missing(name));
    Ok(ProducerStamp {
        id: ProducerId::new(&id).map_err(|error| refused("producer.id", error))?,
        epoch: number("epoch", "producer.epoch")?,
        sequence: number("sequence", "producer.sequence")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(session: &mut Session, message: &str) -> Action {
        session.take(message, Timestamp::default())
    }

    fn problem(action: Action) -> Problem {
        match action {
            Action::Refuse { problem, .. } => problem,
            other => panic!("{other:?} is no refusal"),
        }
    }

    #[test]
    fn a_subscription_says_what_is_wanted() {
        let message = r#"{"type":"subscribe","run":"r","after":"2.7","coalesce":true,
            "filter":{"type":["step.*","log"],"stage":[4,"build"],"channel":"logs"}}"#;
        let Action::Subscribe { id: None, run, cursor, scope: Scope::Events, view } =
            take(&mut Session::default(), message)
        else {
            panic!("it was refused");
        };
        assert_eq!((run.as_str(), cursor), ("r", "2.7".parse().unwrap()));
        let mut filter = EventFilter::default();
        for (field, value) in [
            ("channel", "logs"),
            ("stage", "4"),
            ("stage", "build"),
            ("type", "step.*"),
            ("type", "log"),
        ] {
            filter.allow(field, value).unwrap();
        }
        assert_eq!(view, View { filter, coalesce: true });
    }

    #[test]
    fn a_run_can_be_subscribed_to_once_at_a_time() {
        let mut session = Session::default();
        let subscribe = r#"{"type":"subscribe","run":"r"}"#;
        for again in [r#"{"type":"unsubscribe","run":"r"}"#, ""] {
            assert!(matches!(take(&mut session, subscribe), Action::Subscribe { .. }));
            assert_eq!(problem(take(&mut session, subscribe)).code(), Code::AlreadySubscribed);
            match again {
                "" => session.ended(&RunId::new("r").unwrap()),
                unsubscribe => drop(take(&mut session, unsubscribe)),
            }
        }
        assert!(matches!(take(&mut session, subscribe), Action::Subscribe { .. }));
    }

    #[test]
    fn what_a_stranger_calls_a_field_comes_back_short() {
        let name = "x".repeat(100_000);
        let message = format!(r#"{{"type":"ping","{name}":1}}"#);
        assert!(problem(take(&mut Session::default(), &message)).to_json().len() < 500);
        let many: String = (0..100_000).map(|n| format!(r#","f{n}":1"#)).collect();
        let message = format!(r#"{{"type":"ping"{many}}}"#);
        assert_eq!(problem(take(&mut Session::default(), &message)).code(), Code::InvalidMessage);
    }

    #[test]
    fn no_refusal_gives_a_long_text_back() {
        let long = "x".repeat(100_000);
        for message in [
            format!(r#"{{"type":"{long}"}}"#),
            format!(r#"{{"type":"ping","id":"{long}"}}"#),
            format!(r#"{{"type":"subscribe","run":"{long}"}}"#),
            format!(r#"{{"type":"subscribe","run":"r","after":"{long}"}}"#),
            format!(r#"{{"type":"subscribe","run":"r","filter":"{long}"}}"#),
            format!(r#"{{"type":"subscribe","run":"r","filter":{{"{long}":1}}}}"#),
            format!(r#"{{"type":"subscribe","run":"r","filter":{{"type":"{long}"}}}}"#),
            format!(r#"{{"type":"subscribe","run":"r","filter":{{"step":"{long}"}}}}"#),
            format!(r#"{{"type":"subscribe","run":"r","filter":{{"step":["{long}"]}}}}"#),
            format!(r#"{{"type":"subscribe","run":"r","coalesce":"{long}"}}"#),
            format!(r#"{{"type":"publish","id":1,"run":"r","events":"{long}"}}"#),
            format!(r#"{{"type":"publish","id":1,"run":"r","events":[{{"type":"{long}"}}]}}"#),
            format!(r#"{{"type":"publish","id":1,"run":"r","events":[{{"{long}":1}}]}}"#),
            format!(
                r#"{{"type":"publish","id":1,"run":"r","events":[],"producer":{{"id":"{long}"}}}}"#
            ),
        ] {
            let refused = problem(take(&mut Session::default(), &message)).to_json();
            let told = String::from_utf8_lossy(&refused);
            assert!(refused.len() < 1_000, "{}", &told[..300]);
        }
    }

    /// Any JSON, with names and texts that messages have among it.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let word = prop::sample::select(vec![
            "type",
            "subscribe",
            "publish",
            "run",
            "id",
            "events",
            "filter",
            "after",
            "producer",
            "sequence",
            "ping",
            "stage",
            "\u{0}\"\n",
        ]);
        let leaf = prop_oneof![
            word.clone().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<bool>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        leaf.prop_recursive(3, 32, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map(word.clone().prop_map(str::to_owned), inner, 0..8)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_and_no_json_breaks_a_session(text in any::<String>(), json in json()) {
            let mut session = Session::default();
            let action = take(&mut session, &text);
            let is_refused = matches!(action, Action::Close(_) | Action::Refuse { .. });
            prop_assert!(is_refused);
            take(&mut session, &json.to_string());
        }
    }
}
