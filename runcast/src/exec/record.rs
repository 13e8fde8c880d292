//! The thread that turns what the child prints into events and publishes them, in one order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use memchr::memchr;
use runcast_client::publish::Publisher;
use runcast_event::{Event, Timestamp, limits};

use super::event::{EventMaker, FromChild};
use super::intake::{Intake, Said, Source, Taken};
use super::redact::{Redactor, Secrets};
use super::sort::{Piece, Sorter};

/// Why events were lost before they were published.
const LOST_REASON: &str = "the spool was too slow for the output";

/// What is left when the child's pipes are drained.
pub(super) struct Recorded {
    pub(super) publisher: Publisher,
    /// The run's end as the child told it.
    pub(super) end_from_child: Option<Box<Event>>,
}

/// Records until the intake is closed and empty.
pub(super) fn record(
    intake: &Intake,
    publisher: Publisher,
    maker: EventMaker,
    secrets: &Arc<Secrets>,
) -> Recorded {
    let mut recorder = Recorder {
        stdout: Stream::new(Source::Stdout, secrets),
        stderr: Stream::new(Source::Stderr, secrets),
        events: ChildEvents::default(),
        maker,
        end_from_child: None,
        ready: Vec::new(),
    };
    while let Some(taken) = intake.take(recorder.due()) {
        for taken in taken {
            match taken {
                Taken::Read { source, bytes, at, time } => recorder.read(source, &bytes, at, time),
                Taken::Lost { events, bytes, time } => {
                    publish(intake, &publisher, &mut recorder.ready);
                    publisher.lost(events, bytes, LOST_REASON, time);
                }
                Taken::Said(Said { events, place }) => {
                    recorder.say(events);
                    publish(intake, &publisher, &mut recorder.ready);
                    // Behind the events: killed in between, the next process hears it again.
                    intake.while_writing(|| publisher.keep_place(&place));
                }
            }
        }
        recorder.give_due();
        publish(intake, &publisher, &mut recorder.ready);
    }
    recorder.finish();
    publish(intake, &publisher, &mut recorder.ready);
    Recorded { publisher, end_from_child: recorder.end_from_child }
}

fn publish(intake: &Intake, publisher: &Publisher, ready: &mut Vec<Bytes>) {
    if !ready.is_empty() {
        intake.while_writing(|| publisher.publish(ready, Timestamp::now()));
        ready.clear();
    }
}

struct Recorder {
    stdout: Stream,
    stderr: Stream,
    events: ChildEvents,
    maker: EventMaker,
    end_from_child: Option<Box<Event>>,
    /// Events to publish.
    ready: Vec<Bytes>,
}

impl Recorder {
    fn read(&mut self, source: Source, bytes: &[u8], at: Instant, time: Timestamp) {
        let stream = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
            Source::Events => {
                for line in self.events.push(bytes) {
                    self.child_line(line, time);
                }
                return;
            }
        };
        stream.push(bytes, at, time, &self.maker, &mut self.ready);
    }

    fn child_line(&mut self, line: Line, time: Timestamp) {
        match line {
            Line::Whole(line) => match self.maker.child_line(&line, time) {
                FromChild::Event(event) => self.ready.push(event),
                FromChild::End(end) => self.end_from_child = Some(end),
            },
            Line::TooLong => {
                let message = format!(
                    "an event in RUNCAST_EVENTS is longer than {} bytes and was dropped",
                    limits::EVENT_BYTES_MAX
                );
                self.ready.push(self.maker.warning(&message, time));
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        [self.stdout.sorter.due(), self.stderr.sorter.due()].into_iter().flatten().min()
    }

    fn give_due(&mut self) {
        let now = Instant::now();
        for stream in [&mut self.stdout, &mut self.stderr] {
            if stream.sorter.due().is_some_and(|due| due <= now) {
                stream.sorter.give_partial(&mut stream.pieces);
                stream.give(&self.maker, &mut self.ready);
            }
        }
    }

    /// Events of exec's own, behind the text that was printed before.
    fn say(&mut self, events: Vec<Bytes>) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.sorter.give_text(&mut stream.pieces);
            stream.give(&self.maker, &mut self.ready);
        }
        self.ready.extend(events);
    }

    fn finish(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            stream.finish(&self.maker, &mut self.ready);
        }
        if let Some(line) = self.events.finish() {
            self.child_line(line, Timestamp::now());
        }
    }
}

/// One stream of output on its way: secrets out, sorted, made events.
struct Stream {
    source: Source,
    redactor: Option<Redactor>,
    sorter: Sorter,
    pieces: Vec<Piece>,
    /// When the oldest bytes were read that are not an event yet.
    read_at: Option<Timestamp>,
}

impl Stream {
    fn new(source: Source, secrets: &Arc<Secrets>) -> Self {
        let redactor = (!secrets.is_empty()).then(|| Redactor::new(Arc::clone(secrets)));
        Self { source, redactor, sorter: Sorter::default(), pieces: Vec::new(), read_at: None }
    }

    fn push(
        &mut self,
        bytes: &[u8],
        at: Instant,
        time: Timestamp,
        maker: &EventMaker,
        ready: &mut Vec<Bytes>,
    ) {
        self.read_at.get_or_insert(time);
        match &mut self.redactor {
            None => self.sorter.push(bytes, at, &mut self.pieces),
            Some(redactor) => {
                let shown = redactor.push(bytes);
                self.sorter.push(&shown, at, &mut self.pieces);
            }
        }
        self.give(maker, ready);
        if self.sorter.due().is_some() {
            self.read_at.get_or_insert(time);
        }
    }

    fn finish(&mut self, maker: &EventMaker, ready: &mut Vec<Bytes>) {
        if let Some(redactor) = &mut self.redactor {
            let rest = redactor.finish();
            self.sorter.push(&rest, Instant::now(), &mut self.pieces);
        }
        self.sorter.finish(&mut self.pieces);
        self.give(maker, ready);
    }

    fn give(&mut self, maker: &EventMaker, ready: &mut Vec<Bytes>) {
        if self.pieces.is_empty() {
            return;
        }
        let read_at = self.read_at.take().unwrap_or_else(Timestamp::now);
        let source = self.source;
        ready.extend(self.pieces.drain(..).map(|piece| maker.piece(source, piece, read_at)));
    }
}

/// A line of the events pipe.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// Cuts what comes from the events pipe into lines.
#[derive(Debug, Default)]
struct ChildEvents {
    pending: Vec<u8>,
    /// Whether the rest of an overlong line is being passed over.
    is_skipping: bool,
}

impl ChildEvents {
    fn push(&mut self, mut bytes: &[u8]) -> VecDeque<Line> {
        let mut lines = VecDeque::new();
        while let Some(end) = memchr(b'\n', bytes) {
            self.extend(&bytes[..end], &mut lines);
            bytes = &bytes[end + 1..];
            lines.extend(self.finish());
        }
        self.extend(bytes, &mut lines);
        lines
    }

    fn extend(&mut self, bytes: &[u8], lines: &mut VecDeque<Line>) {
        if !self.is_skipping && self.pending.len() + bytes.len() > limits::EVENT_BYTES_MAX {
            self.is_skipping = true;
            lines.push_back(Line::TooLong);
        }
        if !self.is_skipping {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// The line that has just ended; none when it is blank.
    fn finish(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.pending);
        let is_skipped = std::mem::take(&mut self.is_skipping);
        (!is_skipped && !line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let mut events = ChildEvents::default();
        let mut lines: Vec<Line> = pieces.iter().flat_map(|piece| events.push(piece)).collect();
        lines.extend(events.finish());
        lines
    }

    #[test]
    fn lines_of_the_events_pipe_are_cut_wherever_they_were_read() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        assert_eq!(lines(&[b"{a", b"}\n\n  \n{b}\n{", b"c}"]), ["{a}", "{b}", "{c}"].map(whole));
    }

    #[test]
    fn an_overlong_line_is_passed_over_and_the_next_one_read() {
        let long = vec![b'x'; limits::EVENT_BYTES_MAX];
        assert_eq!(
            lines(&[&long, b"y", b"y\n{a}\n"]),
            [Line::TooLong, Line::Whole(b"{a}".to_vec())]
        );
    }
}
