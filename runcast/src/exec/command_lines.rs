//! What the child is to hear itself, on its way to the pipe named in `RUNCAST_COMMANDS`.
//!
//! Lines wait here until the child reads: never in its way, and never more than a bound. A line
//! counts as handed over when all of it is in the pipe and somebody has that open to read.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};

use runcast_client::spool::MailboxPlace;
use runcast_event::{Cursor, Event, Timestamp};

use super::request::Request;

/// The most lines that wait for a child that does not read. Commands beyond are refused, so that a
/// run never has as many open as a server allows, and can still be stopped; of answers, whose
/// questions may be long settled, the oldest gives way.
pub(super) const LINES_WAITING_MAX: usize = 16;

/// Lines for the child.
#[derive(Debug)]
pub(super) struct CommandLines {
    /// Opened to write without waiting.
    pipe: File,
    waiting: VecDeque<Line>,
    /// How much of the first one is written.
    written: usize,
}

/// One event for the child.
#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    at: Cursor,
    /// The command that it asks for; none for an answer.
    command: Option<Request>,
}

impl CommandLines {
    pub(super) fn new(pipe: File) -> Self {
        Self { pipe, waiting: VecDeque::new(), written: 0 }
    }

    /// Takes an event in, which asks for `command` unless it is an answer. False when there is no
    /// room for it.
    pub(super) fn add(&mut self, event: &Event, at: Cursor, command: Option<Request>) -> bool {
        if self.waiting.len() >= LINES_WAITING_MAX {
            // The first one may be half written.
            let oldest_answer = self.waiting.iter().skip(1).position(|line| line.command.is_none());
            match oldest_answer {
                Some(before) => drop(self.waiting.remove(before + 1)),
                None => return false,
            }
        }
        let Ok(mut text) = serde_json::to_vec(event) else { return false };
        text.push(b'\n');
        self.waiting.push_back(Line { text, at, command });
        true
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes what the child takes now; answers with the commands that it has by that.
    pub(super) fn write(&mut self, now: Timestamp) -> Vec<Request> {
        let mut delivered = Vec::new();
        while let Some(line) = self.waiting.front() {
            let is_late = line.command.as_ref().is_some_and(|command| command.is_late(now));
            if self.written == 0 && is_late {
                self.waiting.pop_front();
                continue;
            }
            match self.pipe.write(&line.text[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.begin_again();
                    break;
                }
                // The pipe is full, or there is something wrong with it that may pass.
                Err(_) => break,
            }
            if self.written == line.text.len() {
                self.written = 0;
                delivered.extend(self.waiting.pop_front().and_then(|line| line.command));
            }
        }
        delivered
    }

    /// Whoever read has gone. Had it a part of the line, the next reader gets all of it, on a line
    /// of its own.
    fn begin_again(&mut self) {
        if std::mem::take(&mut self.written) > 0
            && let Some(line) = self.waiting.front_mut()
            && !line.text.starts_with(b"\n")
        {
            line.text.insert(0, b'\n');
        }
    }

    /// Notes what waits in a place of the mailbox.
    pub(super) fn note(&self, place: &mut MailboxPlace) {
        let of_epoch = self.waiting.iter().filter(|line| line.at.epoch == place.cursor.epoch);
        place.waiting = of_epoch.map(|line| line.at.after).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::path::Path;

    use runcast_event::Offset;

    use super::super::pipes::Pipes;
    use super::*;

    fn event(offset: u64, data: &str) -> Event {
        let json = format!(
            r#"{{"offset":{offset},"type":"command.requested","time":"2026-11-20T21:16:00Z","data":{data}}}"#
        );
        Event::from_json(json.as_bytes()).unwrap()
    }

    fn add(lines: &mut CommandLines, offset: u64, data: &str) -> bool {
        let event = event(offset, data);
        let at = Cursor::new(runcast_event::Epoch::FIRST, Offset::new(offset));
        lines.add(&event, at, Request::of(&event))
    }

    fn command(number: u64) -> String {
        format!(r#"{{"command":"c{number}","name":"set"}}"#)
    }

    fn ids(requests: &[Request]) -> Vec<&str> {
        requests.iter().map(|request| request.command.as_str()).collect()
    }

    fn reader(path: &Path) -> BufReader<File> {
        // Does not wait: the other side is open.
        BufReader::new(File::open(path).unwrap())
    }

    #[test]
    fn a_line_waits_for_a_reader_and_counts_when_it_has_it() {
        let pipes = Pipes::create().unwrap();
        let (path, file) = pipes.commands().unwrap();
        let mut lines = CommandLines::new(file);
        assert!(add(&mut lines, 4, &command(4)) && add(&mut lines, 7, &command(7)));
        assert!(lines.write(Timestamp::default()).is_empty());
        let mut place = MailboxPlace { cursor: "9".parse().unwrap(), ..MailboxPlace::default() };
        lines.note(&mut place);
        assert_eq!(place.waiting, [Offset::new(4), Offset::new(7)]);

        let mut child = reader(&path);
        assert_eq!(ids(&lines.write(Timestamp::default())), ["c4", "c7"]);
        assert!(!lines.is_waiting());
        let mut text = String::new();
        child.read_line(&mut text).unwrap();
        assert_eq!(Event::from_json(text.as_bytes()).unwrap().offset.get(), 4);
        // What the child has not read is still there for its next reader.
        let rest = child.buffer().to_vec();
        assert!(rest.starts_with(b"{\"offset\":7,"));
    }

    #[test]
    fn a_long_line_whose_reader_went_away_is_told_whole_to_the_next() {
        let pipes = Pipes::create().unwrap();
        let (path, file) = pipes.commands().unwrap();
        let mut lines = CommandLines::new(file);
        let long = format!(r#"{{"command":"c","name":"set","args":"{}"}}"#, "x".repeat(200_000));
        assert!(add(&mut lines, 1, &long));
        let mut first = File::open(&path).unwrap();
        assert!(lines.write(Timestamp::default()).is_empty(), "the pipe holds less");
        first.read_exact(&mut [0; 1_000]).unwrap();
        drop(first);
        assert!(lines.write(Timestamp::default()).is_empty());

        let mut child = reader(&path);
        let reading = std::thread::spawn(move || {
            let mut told = Vec::new();
            while told.len() < 2 {
                let mut line = String::new();
                child.read_line(&mut line).unwrap();
                told.push(line);
            }
            told
        });
        let mut delivered = Vec::new();
        while delivered.is_empty() {
            delivered = lines.write(Timestamp::default());
            std::thread::yield_now();
        }
        let told = reading.join().unwrap();
        assert!(
            Event::from_json(told[0].as_bytes()).is_err(),
            "the rest of what the first one had"
        );
        assert_eq!(Event::from_json(told[1].as_bytes()).unwrap().offset.get(), 1);
    }

    #[test]
    fn of_what_nobody_reads_commands_beyond_the_bound_are_refused_and_old_answers_give_way() {
        let pipes = Pipes::create().unwrap();
        let (_path, file) = pipes.commands().unwrap();
        let mut lines = CommandLines::new(file);
        let answer = r#"{"input":"i","answer":1}"#;
        assert!(add(&mut lines, 1, &command(1)) && add(&mut lines, 2, answer));
        for number in 3..=LINES_WAITING_MAX as u64 {
            assert!(add(&mut lines, number, &command(number)));
        }
        assert!(add(&mut lines, 100, &command(100)), "the answer gives way");
        assert!(!add(&mut lines, 101, &command(101)));
        assert!(!add(&mut lines, 102, answer));
    }

    #[test]
    fn a_command_whose_time_is_up_is_not_handed_over() {
        let pipes = Pipes::create().unwrap();
        let (path, file) = pipes.commands().unwrap();
        let mut lines = CommandLines::new(file);
        assert!(add(&mut lines, 1, r#"{"command":"late","name":"set","timeout_ms":1000}"#));
        assert!(add(&mut lines, 2, &command(2)));
        let _child = reader(&path);
        let now = "2026-11-20T21:16:02Z".parse().unwrap();
        assert_eq!(ids(&lines.write(now)), ["c2"]);
    }
}
