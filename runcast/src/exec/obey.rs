//! Carries out what the run is asked: stops, pauses and resumes the child's group, and hands
//! everything else to the child.
//!
//! Says of each command what became of it when that has really happened. What it says goes the way
//! of the child's own events, through the spool, for two reasons: it stands in the run's order (what
//! was printed before a pause stands before it), and it is stored exactly once however often the
//! server goes away, for the spool's producer numbers it. A call of its own would have neither.

use std::time::Duration;

use bytes::Bytes;
use runcast_client::spool::MailboxPlace;
use runcast_event::{Cursor, Event, Timestamp};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::child::{Child, signal};
use super::command_lines::{CommandLines, LINES_WAITING_MAX};
use super::event::EventMaker;
use super::group::Living;
use super::intake::{Intake, Said};
use super::mailbox::Heard;
use super::pump::Calm;
use super::request::Request;
use super::tell::tell;

/// How long a group may take to hold still, or to go on.
const TURN_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long what a group printed before it held still may take to be read. Only a reader of our own
/// output who is behind takes longer: the pause then stands in front of the last of it.
const CALM_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often a group is looked at that is to hold still or to go on; and at first, one that is to go.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often one is looked at in the end that takes its time to go.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(100);
/// How often a child is tried that does not read what waits for it.
const WRITE_EVERY: Duration = Duration::from_millis(100);
/// How long a killed group may take to be gone. Only a disk that hangs takes longer.
const GONE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why nothing else is done any more.
const BEING_STOPPED: &str = "the run is being stopped";

/// Who asked the child to stop, and when.
#[derive(Debug)]
struct Stop {
    /// As the run's end tells it.
    reason: String,
    asked: Instant,
}

/// A pause or a resume that is under way.
#[derive(Debug)]
struct Turn {
    request: Request,
    began: Instant,
    look: Instant,
    /// Since when a group that is to hold still does.
    still_since: Option<Instant>,
}

/// What obeys.
pub(super) struct Obedience<'a> {
    child: &'a Child,
    grace: Duration,
    intake: &'a Intake,
    maker: &'a EventMaker,
    /// Where the child hears of what it must do itself; none without a pipe.
    lines: Option<CommandLines>,
    write_at: Instant,
    place: MailboxPlace,
    calm: Vec<Calm>,
    is_paused: bool,
    turn: Option<Turn>,
    stop: Option<Stop>,
    is_killed: bool,
    /// The commands to stop: two are one.
    stops: Vec<Request>,
}

impl<'a> Obedience<'a> {
    pub(super) fn new(
        child: &'a Child,
        grace: Duration,
        intake: &'a Intake,
        maker: &'a EventMaker,
        lines: Option<CommandLines>,
        calm: Vec<Calm>,
    ) -> Self {
        Self {
            child,
            grace,
            intake,
            maker,
            lines,
            write_at: Instant::now(),
            place: MailboxPlace::default(),
            calm,
            is_paused: false,
            turn: None,
            stop: None,
            is_killed: false,
            stops: Vec::new(),
        }
    }

    /// Whether the next command can be heard: one comes after the other.
    pub(super) fn is_ready(&self) -> bool {
        self.turn.is_none()
    }

    /// Carries out what is said, or begins to.
    pub(super) fn hear(&mut self, heard: Heard) {
        let (event, at) = match heard {
            Heard::Said { event, at } => (event, at),
            Heard::TimeUp => {
                tell("the run's time is up; stopping");
                return self.ask_to_stop("its time is up".to_owned(), Signal::TERM);
            }
        };
        self.place.cursor = at;
        match Request::of(&event) {
            Some(request) if request.is_late(Timestamp::now()) => {}
            Some(request) => match request.name.as_str() {
                "stop" => self.stop(request),
                "pause" => self.pause(request),
                "resume" => self.resume(request),
                _ => self.hand_over(&event, at, Some(request)),
            },
            None => self.hand_over(&event, at, None),
        }
    }

    /// A signal that asks to stop, from outside.
    pub(super) fn ask_to_stop(&mut self, reason: String, with: Signal) {
        self.stop.get_or_insert_with(|| Stop { reason, asked: Instant::now() });
        signal(self.child.pid, with);
        self.let_go_on();
        if let Some(turn) = self.turn.take() {
            self.refuse(&turn.request, BEING_STOPPED);
        }
    }

    /// Waits until something is due; see [`Self::do_due`]. For ever when nothing will be.
    pub(super) async fn due(&self) {
        let kill = self.stop.as_ref().filter(|_| !self.is_killed).map(|at| at.asked + self.grace);
        let write = self.lines.as_ref().filter(|lines| lines.is_waiting()).map(|_| self.write_at);
        let look = self.turn.as_ref().map(|turn| turn.look);
        match [kill, write, look].into_iter().flatten().min() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Does what is due.
    pub(super) fn do_due(&mut self) {
        let now = Instant::now();
        if self.stop.as_ref().is_some_and(|stop| stop.asked + self.grace <= now) && !self.is_killed
        {
            self.is_killed = true;
            signal(self.child.pid, Signal::KILL);
        }
        if self.write_at <= now && self.lines.as_ref().is_some_and(CommandLines::is_waiting) {
            self.write_lines();
        }
        if let Some(turn) = self.turn.take_if(|turn| turn.look <= now) {
            self.look_at(turn, now);
        }
    }

    fn stop(&mut self, request: Request) {
        self.say(&request, "command.delivered");
        let reason = request.blame("stopped");
        self.stops.push(request);
        if self.stop.is_none() {
            self.ask_to_stop(reason, Signal::TERM);
        }
    }

    fn pause(&mut self, request: Request) {
        if self.stop.is_some() {
            return self.refuse(&request, BEING_STOPPED);
        }
        self.say(&request, "command.delivered");
        if self.is_paused {
            return self.say(&request, "command.done");
        }
        self.is_paused = true;
        signal(self.child.pid, Signal::STOP);
        self.begin(request);
    }

    fn resume(&mut self, request: Request) {
        if self.stop.is_some() {
            return self.refuse(&request, BEING_STOPPED);
        }
        if !self.is_paused {
            return self.refuse(&request, "the run is not paused");
        }
        self.say(&request, "command.delivered");
        // In front of whatever the child prints from now on.
        self.say_of_run("run.resumed", &request.blame("resumed"));
        self.let_go_on();
        self.begin(request);
    }

    fn let_go_on(&mut self) {
        self.is_paused = false;
        signal(self.child.pid, Signal::CONT);
    }

    fn begin(&mut self, request: Request) {
        let now = Instant::now();
        self.turn = Some(Turn { request, began: now, look: now, still_since: None });
    }

    /// Whether a pause or a resume has happened: if so it is said, else looked at again soon.
    fn look_at(&mut self, mut turn: Turn, now: Instant) {
        // Where the system shows no processes, a signal that was sent has to do.
        let living = Living::of(self.child.pid).ok();
        let is_turned = living.is_none_or(|living| {
            if self.is_paused { living.is_stopped() } else { living.stopped == 0 }
        });
        if is_turned && !self.is_paused {
            return self.say(&turn.request, "command.done");
        }
        if is_turned {
            let since = *turn.still_since.get_or_insert(now);
            if self.calm.iter().all(Calm::is_calm) || now >= since + CALM_WAIT_MAX {
                self.say_of_run("run.paused", &turn.request.blame("paused"));
                return self.say(&turn.request, "command.done");
            }
        } else if now >= turn.began + TURN_WAIT_MAX {
            let how = if self.is_paused { "hold still" } else { "go on" };
            if self.is_paused {
                self.let_go_on();
            }
            let reason = format!("its processes did not {how} within {TURN_WAIT_MAX:?}");
            return self.refuse(&turn.request, &reason);
        }
        turn.look = now + LOOK_EVERY;
        self.turn = Some(turn);
    }

    /// Has the child itself do it.
    fn hand_over(&mut self, event: &Event, at: Cursor, command: Option<Request>) {
        let is_added = match &mut self.lines {
            Some(lines) => lines.add(event, at, command.clone()),
            None => false,
        };
        if is_added {
            return self.write_lines();
        }
        let Some(command) = command else { return };
        let reason = if self.lines.is_some() {
            format!(
                "the program does not read RUNCAST_COMMANDS: {LINES_WAITING_MAX} lines wait there"
            )
        } else {
            "the program has no RUNCAST_COMMANDS".to_owned()
        };
        self.refuse(&command, &reason);
    }

    fn write_lines(&mut self) {
        let Some(lines) = &mut self.lines else { return };
        self.write_at = Instant::now() + WRITE_EVERY;
        let (maker, mut place) = (self.maker, self.place.clone());
        // A child may answer at once: that it has the line stands in front of that.
        self.intake.say(|| {
            let delivered = lines.write(Timestamp::now());
            lines.note(&mut place);
            let of = |request| outcome(maker, request, "command.delivered");
            Said { events: delivered.iter().map(of).collect(), place }
        });
    }

    /// Waits until nothing of the group is left, and has it killed at the end of the grace, or at
    /// once when the answer of `again` says that somebody is tired of waiting. Then it is done.
    ///
    /// For a child that was asked to stop and has ended.
    pub(super) async fn see_off(&mut self, again: impl Future<Output = ()>) {
        let Some(stop) = &self.stop else { return };
        tokio::select! {
            () = self.gone(stop.asked + self.grace) => {}
            () = again => {}
        }
        signal(self.child.pid, Signal::KILL);
        self.gone(Instant::now() + GONE_WAIT_MAX).await;
        for request in std::mem::take(&mut self.stops) {
            self.say(&request, "command.done");
        }
    }

    /// Waits until nothing of the group lives, at the latest until then.
    async fn gone(&self, latest: Instant) {
        let mut wait = LOOK_EVERY;
        while Living::of(self.child.pid).is_ok_and(|living| !living.is_gone()) {
            let now = Instant::now();
            if now >= latest {
                return;
            }
            sleep_until((now + wait).min(latest)).await;
            wait = (wait * 2).min(LOOK_EVERY_MAX);
        }
    }

    /// Who asked the child to stop, if somebody did.
    pub(super) fn stopped(self) -> Option<String> {
        self.stop.map(|stop| stop.reason)
    }

    fn refuse(&self, request: &Request, reason: &str) {
        let data = json!({ "command": request.command, "name": request.name, "reason": reason });
        self.say_event(self.maker.control("command.refused", data));
    }

    fn say(&self, request: &Request, event_type: &'static str) {
        self.say_event(outcome(self.maker, request, event_type));
    }

    fn say_of_run(&self, event_type: &'static str, reason: &str) {
        self.say_event(self.maker.control(event_type, json!({ "status_reason": reason })));
    }

    /// Says an event, and how far the mailbox is dealt with by it.
    fn say_event(&self, event: Bytes) {
        let mut place = self.place.clone();
        if let Some(lines) = &self.lines {
            lines.note(&mut place);
        }
        self.intake.say(|| Said { events: vec![event], place });
    }
}

fn outcome(maker: &EventMaker, request: &Request, event_type: &'static str) -> Bytes {
    maker.control(event_type, json!({ "command": request.command, "name": request.name }))
}
