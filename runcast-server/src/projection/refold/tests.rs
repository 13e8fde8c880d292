use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use runcast_event::{Timestamp, parse_event};
use runcast_hub::{HubBuilder, HubConfig};
use runcast_log::{Append, Log, MemoryLog, Trim};

use super::*;
use crate::clock::Clock;
use crate::presence::Presence;
use crate::projection::{Listening, Projection};
use crate::retention::RetentionPolicy;

fn hub() -> Hub {
    let builder = HubBuilder::new(HubConfig::default());
    let log: Arc<dyn Log> = MemoryLog::new(builder.observer());
    builder.build(log)
}

fn run() -> RunId {
    RunId::new("r").unwrap()
}

fn projection(hub: &Hub) -> Projection {
    let presence = Presence::new(Clock::System);
    let silent_after = Duration::from_secs(60);
    let listening = Listening { clock: Clock::System, presence, silent_after };
    Projection::start(
        hub.clone(),
        Duration::from_secs(60),
        listening,
        RetentionPolicy::default(),
        None,
    )
}

fn event() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        r#"{"type":"run.queued","data":{"workflow":"w","tags":["a"],"stages":["one","two"]}}"#,
        r#"{"type":"run.updated","data":{"name":"n","steps":["s","t"],"metadata":{"k":1}}}"#,
        r#"{"type":"run.started"}"#,
        r#"{"type":"run.paused","data":{"status_reason":"why"}}"#,
        r#"{"type":"stage.started","stage":"one"}"#,
        r#"{"type":"stage.completed","stage":"one"}"#,
        r#"{"type":"step.started","step":"s"}"#,
        r#"{"type":"step.failed","step":"s","data":{"error":"e"}}"#,
        r#"{"type":"message.delta","data":{"message":"m","text":"some "}}"#,
        r#"{"type":"input.requested","data":{"input":"i","prompt":"p"}}"#,
        r#"{"type":"input.answered","data":{"input":"i","answer":1}}"#,
        r#"{"type":"command.requested","data":{"command":"c","name":"stop"}}"#,
        r#"{"type":"output","data":{"text":"x"}}"#,
        r#"{"type":"log","data":{"level":"info","message":"x"}}"#,
        r#"{"type":"run.completed","data":{"output":3}}"#,
    ])
}

async fn append(hub: &Hub, events: &[&str]) {
    for (at, event) in (1..).zip(events) {
        let payload = parse_event(event.as_bytes(), Timestamp::from_micros(at)).unwrap().payload;
        let events = vec![payload.into_bytes()];
        let run = run();
        let append =
            Append { run, events, close: false, expected_last: None, producer: None, create: true };
        hub.append(append).await.unwrap();
    }
}

/// The state of the first events, and of all, without a trim.
fn folded(events: &[&str]) -> RunState {
    let mut state = RunState::new(run());
    for (at, event) in (1_u32..).zip(events) {
        let time = Timestamp::from_micros(at.into());
        let payload = parse_event(event.as_bytes(), time).unwrap().payload;
        state.apply(Offset::new(at.into()), Default::default(), &payload);
    }
    state
}

async fn check(events: Vec<&'static str>, trims: Vec<(usize, usize)>) {
    let hub = hub();
    append(&hub, &events).await;
    let expected = folded(&events);
    let running = projection(&hub);
    let stat = hub.stat(&run()).await.unwrap().unwrap();
    let seen = async |projection: &Projection| {
        projection.look(&run(), &stat, RunState::clone).await.unwrap().unwrap()
    };
    assert_eq!(seen(&running).await, expected);
    for (before, base) in trims {
        let base = (before.max(1) - 1 + base).min(events.len());
        let before = Offset::new(before.min(events.len() + 1) as u64);
        let base = folded(&events[..base]).encode().into();
        hub.trim(&run(), Trim { base, ..Trim::before(before) }).await.unwrap();
        assert_eq!(seen(&running).await, expected, "what is known stays");
        assert_eq!(to_the_end(&hub, RunState::new(run())).await.unwrap(), expected);
        assert_eq!(seen(&projection(&hub)).await, expected, "a start that knows nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_from_what_stands_for_trimmed_events_is_the_state_without_a_trim(
        events in prop::collection::vec(event(), 1..30),
        trims in prop::collection::vec((0..32_usize, 0..4_usize), 1..4),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(events, trims));
    }
}

#[tokio::test]
async fn a_base_that_cannot_be_read_gives_an_error_and_not_another_state() {
    let hub = hub();
    append(&hub, &[r#"{"type":"run.started"}"#, r#"{"type":"output","data":{"text":"x"}}"#]).await;
    let base = r#"{"version":99,"state":{}}"#.into();
    hub.trim(&run(), Trim { base, ..Trim::before(Offset::new(2)) }).await.unwrap();
    let error = to_the_end(&hub, RunState::new(run())).await.unwrap_err().to_string();
    assert!(error.contains("form 99"), "{error}");
}
