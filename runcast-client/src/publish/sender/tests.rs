use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use proptest::prelude::*;
use runcast_event::RunId;
use serde_json::Value;

use super::*;
use crate::Problem;
use crate::spool::{Header, SpoolLimits};

const LIMITS: SpoolLimits = SpoolLimits { disk_bytes_max: 1 << 30, memory_bytes_max: 1 << 20 };

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// It does not arrive.
    NotSent,
    /// It arrives; the answer does not.
    NoAnswer,
    /// Its first half is stored; then the connection breaks.
    Half,
    /// The server is killed before it and has lost half of what it had acknowledged.
    LostTail,
    /// Something else answers there.
    OtherServer,
}

/// A server's side of idempotent producers, as docs/http-api.md has it.
#[derive(Debug, Default)]
struct Server {
    /// Per producer: its epoch and the next sequence, with the place of each stored event.
    producers: HashMap<String, (u64, u64)>,
    stored: Vec<(String, u64, u64, String)>,
    fault: Option<Fault>,
    /// Lines with this text are refused.
    refuses: Option<&'static str>,
    /// With which status and code, and which member names their place.
    refusal: Option<(u16, &'static str, &'static str)>,
    lines_max: usize,
}

impl Server {
    fn append(&mut self, lines: &[&str], producer: &Producer) -> Result<(), ClientError> {
        let id = producer.id.as_str().to_owned();
        let (epoch, next) = self.producers.get(&id).copied().unwrap_or((producer.epoch, 0));
        if producer.epoch < epoch {
            return Err(problem(403, "producer_fenced", "current", epoch));
        }
        let next = if producer.epoch > epoch { 0 } else { next };
        if producer.sequence > next {
            return Err(problem(409, "sequence_gap", "expected", next));
        }
        if lines.len() > self.lines_max {
            return Err(problem(413, "body_too_large", "max", 1));
        }
        if let Some(text) = self.refuses
            && let Some(at) = lines.iter().position(|line| line.contains(text))
        {
            let (status, code, place) = self.refusal.unwrap_or((400, "invalid_event", "line"));
            return Err(problem(status, code, place, at as u64 + 1));
        }
        let mut at = producer.sequence;
        for line in lines {
            if at >= next {
                self.stored.push((id.clone(), producer.epoch, at, (*line).to_owned()));
            }
            at += 1;
        }
        self.producers.insert(id, (producer.epoch, at.max(next)));
        Ok(())
    }

    fn lose_tail(&mut self) {
        self.stored.truncate(self.stored.len() / 2);
        self.producers.clear();
        for (id, epoch, at, _) in &self.stored {
            self.producers.insert(id.clone(), (*epoch, at + 1));
        }
    }

    fn texts(&self) -> Vec<&str> {
        self.stored.iter().map(|(_, _, _, line)| line.as_str()).collect()
    }
}

fn problem(status: u16, code: &str, member: &str, value: u64) -> ClientError {
    let members = [(member.to_owned(), Value::from(value))].into_iter().collect();
    let (code, text) = (code.to_owned(), String::new);
    ClientError::Problem(Box::new(Problem { status, code, title: text(), detail: text(), members }))
}

fn unreachable() -> ClientError {
    ClientError::Unreachable {
        url: String::new(),
        reason: "connection refused".to_owned(),
        may_be_sent: false,
    }
}

impl Courier for Arc<Mutex<Server>> {
    async fn send(
        &self,
        _run: &RunId,
        lines: Bytes,
        producer: &Producer,
    ) -> Result<(), ClientError> {
        let mut server = self.lock().unwrap();
        let text = std::str::from_utf8(&lines).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        match server.fault.take().unwrap_or(Fault::None) {
            Fault::None => server.append(&lines, producer),
            Fault::NotSent => Err(unreachable()),
            Fault::NoAnswer => server.append(&lines, producer).and(Err(unreachable())),
            Fault::Half => {
                server.append(&lines[..lines.len() / 2], producer).and(Err(unreachable()))
            }
            Fault::LostTail => {
                server.lose_tail();
                server.append(&lines, producer)
            }
            Fault::OtherServer => Err(problem(404, "", "x", 0)),
        }
    }
}

struct World {
    server: Arc<Mutex<Server>>,
    spool: Arc<Spool>,
    sender: Sender<Arc<Mutex<Server>>>,
    notices: Arc<Mutex<Vec<Notice>>>,
    root: tempfile::TempDir,
    appended: u64,
    is_taken_over: bool,
}

impl World {
    fn new() -> Self {
        Self::at(Timestamp::default())
    }

    /// A process that begins at this time.
    fn at(now: Timestamp) -> Self {
        let root = tempfile::tempdir().unwrap();
        let run = RunId::new("run").unwrap();
        let header = Header::new(run, String::new(), now);
        let (spool, error) = Spool::create(root.path(), header, LIMITS);
        assert!(error.is_none(), "{error:?}");
        let server = Arc::new(Mutex::new(Server { lines_max: 1_000, ..Server::default() }));
        let (spool, notices) = (Arc::new(spool), Arc::default());
        let sender = sender(&server, &spool, &notices);
        Self { server, spool, sender, notices, root, appended: 0, is_taken_over: false }
    }

    fn append(&mut self, count: u64) {
        for number in self.appended..self.appended + count {
            self.spool.append(&[text(number).into()], Timestamp::default());
        }
        self.appended += count;
    }

    fn step(&mut self, fault: Fault) -> Step {
        self.server.lock().unwrap().fault = Some(fault);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let step = runtime.block_on(self.sender.step());
        self.server.lock().unwrap().fault = None;
        step
    }

    /// Steps until there is nothing to send.
    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.step(Fault::None) == Step::Idle {
                return;
            }
        }
        panic!("it sends for ever");
    }

    /// The process is killed, another takes its spool over.
    fn restart(self) -> Self {
        let Self { server, spool, sender, notices, root, appended, .. } = self;
        drop((spool, sender));
        let found = crate::spool::leftovers(root.path()).unwrap().spools;
        let spool = Spool::take_over(&found[0].dir, LIMITS).unwrap().unwrap();
        let spool = Arc::new(spool);
        let sender = self::sender(&server, &spool, &notices);
        Self { server, spool, sender, notices, root, appended, is_taken_over: true }
    }

    fn stored(&self) -> Vec<String> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.texts().into_iter().map(str::to_owned).collect()
    }

    fn expected(&self) -> Vec<String> {
        (0..self.appended).map(text).collect()
    }
}

fn sender(
    server: &Arc<Mutex<Server>>,
    spool: &Arc<Spool>,
    notices: &Arc<Mutex<Vec<Notice>>>,
) -> Sender<Arc<Mutex<Server>>> {
    let told = Arc::clone(notices);
    let notice: NoticeFn = Box::new(move |notice| told.lock().unwrap().push(notice));
    Sender::new(Arc::clone(server), Arc::clone(spool), true, notice)
}

fn text(number: u64) -> String {
    format!(r#"{{"type":"my.event","data":{number}}}"#)
}

fn gap(line: &str) -> Option<Value> {
    let event: Value = serde_json::from_str(line).unwrap();
    (event["type"] == "producer.gap").then(|| event["data"].clone())
}

#[test]
fn while_the_server_is_away_it_is_told_once_and_tried_again() {
    let mut world = World::new();
    world.append(3);
    for _ in 0..5 {
        assert!(matches!(world.step(Fault::NotSent), Step::Wait(_)));
    }
    assert!(matches!(world.step(Fault::OtherServer), Step::Wait(_)));
    world.settle();
    assert_eq!(world.stored(), world.expected());
    let notices = world.notices.lock().unwrap();
    assert!(matches!(&notices[..], [Notice::ServerAway { .. }, Notice::ServerBack]));
}

#[test]
fn an_event_that_the_server_refuses_is_replaced_by_a_gap_once() {
    let mut world = World::new();
    world.append(10);
    world.server.lock().unwrap().refuses = Some("\"data\":4}");
    world.settle();
    let stored = world.stored();
    assert_eq!(stored.len(), 10);
    assert_eq!(gap(&stored[4]).unwrap()["lost_events"], 1);
    assert_eq!((&stored[3], &stored[5]), (&text(3), &text(5)));
    assert_eq!(world.notices.lock().unwrap().len(), 1);
}

#[test]
fn events_that_the_runs_state_does_not_allow_are_left_out_and_told_of_once() {
    let mut world = World::new();
    world.append(30);
    {
        let mut server = world.server.lock().unwrap();
        server.refuses = Some("5}");
        server.refusal = Some((409, "not_possible", "line"));
    }
    world.settle();
    world.append(10);
    world.settle();
    let stored = world.stored();
    assert_eq!(stored.len(), 40);
    let gaps: Vec<usize> = (0..40).filter(|at| gap(&stored[*at]).is_some()).collect();
    assert_eq!(gaps, [5, 15, 25, 35]);
    assert_eq!(world.sender.left_out(), 4);
    let notices = world.notices.lock().unwrap();
    assert!(matches!(&notices[..], [Notice::EventRefused { .. }]), "{notices:?}");
}

#[test]
fn an_event_that_is_not_possible_is_found_also_when_its_place_is_not_named() {
    let mut world = World::new();
    world.append(10);
    {
        let mut server = world.server.lock().unwrap();
        server.refuses = Some("\"data\":4}");
        server.refusal = Some((409, "not_possible", "state"));
    }
    world.settle();
    let stored = world.stored();
    assert_eq!((stored.len(), gap(&stored[4]).is_some()), (10, true));
    assert_eq!((&stored[3], &stored[5]), (&text(3), &text(5)));
}

#[test]
fn a_run_that_has_ended_takes_nothing_although_an_event_is_named() {
    let mut world = World::new();
    world.append(2);
    {
        let mut server = world.server.lock().unwrap();
        server.refuses = Some("1}");
        server.refusal = Some((409, "run_ended", "line"));
    }
    assert!(matches!(world.step(Fault::None), Step::Refused(_)));
}

#[test]
fn a_request_that_is_too_large_is_cut() {
    let mut world = World::new();
    world.append(10);
    world.server.lock().unwrap().lines_max = 3;
    world.settle();
    assert_eq!(world.stored(), world.expected());
}

#[test]
fn a_refusal_for_good_ends_the_sending() {
    let mut world = World::new();
    world.append(1);
    world.settle();
    let producer = world.spool.header().producer;
    world.server.lock().unwrap().producers.insert(producer.as_str().to_owned(), (7, 0));
    world.append(1);
    assert!(matches!(world.step(Fault::None), Step::Refused(_)));
    world.sender.discard();
    assert_eq!(world.step(Fault::None), Step::Idle);
}

#[test]
fn what_the_server_has_lost_is_sent_again_while_it_is_here() {
    let mut world = World::new();
    world.append(10);
    world.settle();
    world.append(1);
    world.step(Fault::LostTail);
    world.settle();
    assert_eq!(world.stored(), world.expected());
}

#[test]
fn what_nobody_has_any_more_becomes_a_gap_in_a_new_epoch() {
    let mut world = World::new();
    world.append(10);
    world.settle();
    world.spool.discard();
    world.append(2);
    world.step(Fault::LostTail);
    world.settle();
    let stored = world.stored();
    assert_eq!(gap(&stored[5]).unwrap()["lost_events"], 5);
    assert_eq!(stored[6..], [text(10), text(11)]);
    assert_eq!(world.spool.header().epoch, 1);
}

#[test]
fn who_begins_to_publish_a_run_fences_off_who_did_before_whatever_their_clocks_say() {
    for (before, after) in [(5, 9), (9, 5)] {
        let mut first = World::at(Timestamp::from_micros(before));
        first.append(2);
        first.settle();
        let mut second = World::at(Timestamp::from_micros(after));
        second.sender = sender(&first.server, &second.spool, &second.notices);
        second.append(2);
        second.settle();
        first.append(1);
        assert!(matches!(first.step(Fault::None), Step::Refused(_)));
        assert_eq!(first.notices.lock().unwrap()[..], [Notice::Replaced]);
        assert_eq!(first.stored(), [text(0), text(1), text(0), text(1)]);
    }
}

#[test]
fn a_new_epoch_goes_on_in_the_next_process() {
    let mut world = World::new();
    world.append(10);
    world.settle();
    world.spool.discard();
    world.append(2);
    world.server.lock().unwrap().lose_tail();
    // The server tells what it misses, a new epoch begins, and its first answer is lost.
    assert_eq!(world.step(Fault::None), Step::Wait(Duration::ZERO));
    assert!(matches!(world.step(Fault::NoAnswer), Step::Wait(_)));
    let mut world = world.restart();
    world.settle();
    let stored = world.stored();
    assert_eq!(stored.len(), 8);
    assert_eq!(gap(&stored[5]).unwrap()["lost_events"], 5);
    assert_eq!(stored[6..], [text(10), text(11)]);
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Append(u64),
    Step(Fault),
    /// From then on nothing is appended: a spool that is taken over is only sent.
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::NotSent),
        Just(Fault::NoAnswer),
        Just(Fault::Half),
        Just(Fault::OtherServer),
    ];
    let action = prop_oneof![
        4 => (1_u64..40).prop_map(Action::Append),
        4 => fault.prop_map(Action::Step),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 0..30)
}

impl World {
    fn act(mut self, actions: Vec<Action>) -> Self {
        for action in actions {
            match action {
                Action::Append(count) if !self.is_taken_over => self.append(count),
                Action::Append(_) => {}
                Action::Step(fault) => drop(self.step(fault)),
                Action::Restart => self = self.restart(),
            }
        }
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_every_event_arrives_once_and_in_order(actions in actions()) {
        let mut world = World::new().act(actions);
        world.settle();
        prop_assert_eq!(world.stored(), world.expected());
    }

    #[test]
    fn a_server_that_has_lost_its_tail_gets_each_event_once_or_a_gap_that_counts_it(
        before in actions(), after in actions(),
    ) {
        let mut world = World::new().act(before);
        world.step(Fault::LostTail);
        world.settle();
        let mut world = world.act(after);
        let is_taken_over = world.is_taken_over;
        if !is_taken_over {
            // Only a sender who sends on can learn what the server has lost.
            world.append(1);
        }
        world.settle();
        let mut next = 0;
        for line in world.stored() {
            match gap(&line) {
                Some(gap) => next += gap["lost_events"].as_u64().unwrap(),
                None => {
                    prop_assert_eq!(&line, &text(next));
                    next += 1;
                }
            }
        }
        prop_assert!(next == world.appended || (is_taken_over && next < world.appended));
    }
}
