use std::sync::Arc;
use std::time::Duration;

use runcast_event::{Epoch, Offset, parse_event};
use runcast_hub::{HubBuilder, HubConfig};
use runcast_log::{Append, AppendError, MemoryLog, Record};

use super::*;
use crate::clock::Clock;
use crate::presence::Presence;
use crate::projection::{Listening, Projection};
use crate::retention::RetentionPolicy;

async fn gated() -> (Hub, Arc<RunGate>) {
    let builder = HubBuilder::new(HubConfig::default());
    let log = MemoryLog::new(builder.observer());
    let hub = builder.build(log);
    let (clock, presence) = (Clock::System, Presence::new(Clock::System));
    let listening = Listening { clock, presence, silent_after: Duration::from_secs(60) };
    let projection = Projection::start(
        hub.clone(),
        Duration::from_secs(20),
        listening,
        RetentionPolicy::default(),
        None,
    );
    let gate = Arc::new(RunGate::new(projection.states()));
    hub.set_gate(Arc::clone(&gate) as _).await.unwrap();
    (hub, gate)
}

fn run(number: usize) -> RunId {
    RunId::new(&format!("run-{number}")).unwrap()
}

fn event(event_type: &str) -> Bytes {
    let json = format!(r#"{{"type":"{event_type}"}}"#);
    parse_event(json.as_bytes(), Timestamp::now()).unwrap().payload.into_bytes()
}

fn append(number: usize, event_type: &str) -> Append {
    Append {
        run: run(number),
        events: vec![event(event_type)],
        close: false,
        expected_last: None,
        producer: None,
        create: true,
    }
}

#[tokio::test]
async fn a_run_that_was_forgotten_among_many_is_judged_as_if_it_had_not_been() {
    let (hub, gate) = gated().await;
    for event_type in ["run.started", "run.paused"] {
        hub.append(append(0, event_type)).await.unwrap();
    }
    hub.append(append(1, "run.queued")).await.unwrap();
    for number in 2..2 * KEPT_MAX {
        hub.append(append(number, "run.started")).await.unwrap();
    }
    {
        let known = gate.known();
        assert!(!known.has(&run(0)) && !known.has(&run(1)) && known.queued == 0);
        assert!(known.recent.len() + known.others.len() <= KEPT_MAX);
    }
    hub.append(append(0, "run.resumed")).await.unwrap();
    let again = hub.append(append(0, "run.resumed")).await;
    assert!(matches!(&again, Err(AppendError::Refused(r)) if r.state == Some("running")));
    hub.append(append(1, "my.tick")).await.unwrap();
    let feed = hub.stat(&RunId::feed()).await.unwrap().unwrap();
    assert_eq!(feed.last.get() as usize, 2 * KEPT_MAX + 3, "the queued one began to work");
}

#[tokio::test]
async fn what_was_not_stored_is_not_judged_by() {
    let (hub, gate) = gated().await;
    hub.append(append(0, "run.started")).await.unwrap();
    let admit = |event_type| {
        let records = [Record::single(Offset::new(2), event(event_type))];
        let (run, epoch, records) = (&run(0), Epoch::FIRST, &records[..]);
        gate.admit(NewEvents { run, epoch, begins: false, records, is_trial: false })
    };
    admit("run.paused").unwrap();
    gate.undo(&run(0));
    assert_eq!(admit("run.resumed"), Err(NotAdmitted::Unready));
    let resumed = hub.append(append(0, "run.resumed")).await;
    assert!(matches!(&resumed, Err(AppendError::Refused(r)) if r.state == Some("running")));
    hub.append(append(0, "run.paused")).await.unwrap();
}

#[tokio::test]
async fn what_another_node_was_faster_with_is_judged_by_and_what_was_tried_is_not() {
    let (hub, gate) = gated().await;
    hub.append(append(0, "run.started")).await.unwrap();
    let records = |offset, event_type| [Record::single(Offset::new(offset), event(event_type))];
    let admit = |offset, event_type| {
        let (run, epoch, records) = (&run(0), Epoch::FIRST, &records(offset, event_type)[..]);
        gate.admit(NewEvents { run, epoch, begins: false, records, is_trial: true })
    };
    // Two in one group; another node has stored something else at 2.
    admit(2, "my.tick").unwrap();
    admit(3, "run.paused").unwrap();
    gate.undo(&run(0));
    let mut stat = hub.stat(&run(0)).await.unwrap().unwrap();
    stat.last = Offset::new(2);
    gate.stored(&run(0), &records(2, "run.paused"), &stat);
    // What is known is told again, with what comes behind it.
    let again = [records(2, "run.paused"), records(3, "my.tick")].concat();
    stat.last = Offset::new(3);
    gate.stored(&run(0), &again, &stat);
    admit(4, "my.tick").unwrap();
    admit(5, "run.resumed").unwrap();
    let refused = admit(6, "run.resumed");
    assert!(
        matches!(&refused, Err(NotAdmitted::Refused(r)) if r.state == Some("running")),
        "{refused:?}"
    );
}
