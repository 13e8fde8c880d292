//! A producer: sends its events in order, and again until they are acknowledged, cut in other ways.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use serde_json::Value;

use super::history::Promise;
use super::script::Script;
use super::world::World;
use crate::wire::call::{Answer, Caller};

/// The longest pause between two requests, in milliseconds.
const PAUSE_MAX_MS: u64 = 12;

/// One producer of one run.
pub(super) struct Producer {
    pub(super) script: Script,
    world: Arc<World>,
    rng: Rng,
    caller: Option<Caller>,
    /// The number of the next event to be acknowledged.
    pub(super) next: u64,
    /// The number behind the last event that was ever sent.
    sent: u64,
    pub(super) promises: Vec<Promise>,
}

impl Producer {
    pub(super) fn new(world: Arc<World>, run: usize, producer: usize) -> Self {
        let script = Script { seed: world.seed, run, producer };
        let rng = world.chances(2_000 + producer as u64);
        Self { script, world, rng, caller: None, next: 0, sent: 0, promises: Vec::new() }
    }

    /// Sends until it is enough and all that was sent is acknowledged.
    pub(super) fn produce(mut self) -> Result<Self> {
        let sent = self.send_all();
        if sent.is_err() {
            self.world.fail();
        }
        sent.with_context(|| format!("producer {} at {}", self.script.producer, self.next))?;
        Ok(self)
    }

    fn send_all(&mut self) -> Result<()> {
        loop {
            self.world.check()?;
            let is_enough = self.world.is_enough();
            if is_enough && self.next >= self.sent {
                return Ok(());
            }
            let count = match self.rng.u8(0..12) {
                0 => self.rng.u64(50..300),
                _ => self.rng.u64(1..14),
            };
            let owed = self.sent.saturating_sub(self.next);
            self.send(if is_enough { count.min(owed) } else { count })?;
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..PAUSE_MAX_MS)));
        }
    }

    /// Sends the next events once. What comes of it moves `next` on, or does not.
    fn send(&mut self, count: u64) -> Result<()> {
        let address = self.world.address()?;
        let kept = self.caller.take().filter(|caller| self.world.is_there(caller.address()));
        // Of several servers now this one and then that.
        let kept = kept.filter(|caller| caller.address() == address || self.rng.bool());
        let caller = kept.map_or_else(|| Caller::connect(address), Ok);
        let Ok(mut caller) = caller else { return Ok(()) };
        self.sent = self.sent.max(self.next + count);
        let in_lines = self.rng.bool();
        let numbers = self.next..self.next + count;
        let drafts: Vec<String> =
            numbers.map(|number| self.script.draft(number).to_string()).collect();
        let (kind, body) = match in_lines {
            true => ("x-ndjson", drafts.join("\n")),
            false => ("json", format!("[{}]", drafts.join(","))),
        };
        let path = format!("/v1/runs/{}/events", self.world.runs[self.script.run]);
        let headers = format!(
            "Content-Type: application/{kind}\r\nProducer-Id: p{}\r\nProducer-Epoch: 0\r\nProducer-Seq: {}\r\n",
            self.script.producer, self.next
        );
        if self.rng.u8(0..16) == 0 {
            // Leaves without hearing what became of it.
            let _ = caller.send_post(&path, &headers, body.as_bytes());
            return Ok(());
        }
        let Ok(answer) = caller.post(&path, &headers, body.as_bytes()) else { return Ok(()) };
        if answer.status == 503 {
            return Ok(());
        }
        self.note(&answer, count)?;
        self.caller = Some(caller);
        Ok(())
    }

    /// An answer is one object for an array, and for lines one for each batch and one at the end.
    fn note(&mut self, answer: &Answer, count: u64) -> Result<()> {
        let text = || String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 200, "an append was answered {}: {}", answer.status, text());
        let first = self.next;
        for line in answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).with_context(text)?;
            if let Some(problem) = line.get("problem") {
                // The server is ending. What was answered before is stored.
                ensure!(problem["status"] == 503, "an append was answered {problem}");
                return Ok(());
            }
            if line["done"] == true {
                continue;
            }
            let number = |name: &str| line[name].as_u64();
            let up_to = first + number("lines").unwrap_or(count);
            let (stored, doubled) = (number("stored"), number("duplicates"));
            let (stored, doubled) = (stored.with_context(text)?, doubled.with_context(text)?);
            ensure!(stored + doubled == up_to - self.next, "{line} for {} on", self.next);
            if stored > 0 {
                let last = number("last").with_context(text)?;
                let promised = (0..stored)
                    .map(|back| Promise { offset: last - back, number: up_to - 1 - back });
                self.promises.extend(promised);
            }
            self.next = up_to;
        }
        ensure!(self.next <= first + count, "more was acknowledged than was sent");
        Ok(())
    }
}
