//! What the node hears of others: who follows here, and what other nodes do.

use std::collections::HashMap;

use runcast_event::RunId;
use runcast_log::{Committed, Record, StreamStat};
use tokio::time::sleep;

use super::{AGAIN, CHANGED_STEP, Event, GATHER, Node, SUBSCRIBE_STEP};
use crate::feed::Brought;
use crate::live::{Todo, look};
use crate::message;
use crate::messages::{Arrived, Message};
use crate::replica::Replica;

impl Node {
    pub(super) fn tell_missed(&mut self, run: &RunId, records: Vec<Record>, replica: &Replica) {
        let Some(last) = records.last().map(|record| record.offset) else { return };
        let whole = replica.stream.stat();
        let closed = whole.closed && last == whole.last;
        let todo = self.live.stored(run, records, &StreamStat { last, closed, ..whole }, false);
        self.do_it(run, todo);
    }

    pub(super) fn tell_brought(&mut self, brought: Brought, is_own: bool) {
        let feed = RunId::feed();
        let todo = self.live.stored(&feed, brought.records, &brought.stat, is_own);
        self.do_it(&feed, todo);
    }

    pub(super) fn do_it(&mut self, run: &RunId, todo: Todo) {
        if let Some(change) = todo.tell {
            self.tell_all(vec![change]);
        }
        if todo.read {
            self.look(run);
        }
    }

    /// Reads a followed stream from where it was told.
    pub(super) fn look(&mut self, run: &RunId) {
        let Some(seen) = self.live.begin_to_read(run) else { return };
        let (reader, run) = (self.reader.clone(), run.clone());
        self.ask(async move {
            let looked = look(&reader, &run, seen).await;
            Event::Looked(run, seen, looked)
        });
    }

    pub(super) fn on_arrived(&mut self, arrived: Arrived) {
        match arrived {
            Arrived::Messages(messages) => {
                messages.into_iter().for_each(|message| self.on_message(message));
            }
            Arrived::TooMany => {
                tracing::warn!(
                    "other nodes tell more than can be heard: the streams are read instead"
                );
                self.look_at_all();
            }
        }
    }

    pub(super) fn on_message(&mut self, message: Message) {
        let keys = &self.reader.keys;
        let me = &*self.parts.committer.node;
        if keys.is_changes(&message.channel) {
            if let Some((node, runs)) = message::read_changed(&message.payload)
                && node != me
            {
                runs.iter().for_each(|run| self.replicas.outdate(run));
                let unheard = runs.into_iter().filter(|run| !self.live.follows(run));
                self.tell_all(unheard.map(|run| Committed::Changed { run }).collect());
            }
            return;
        }
        let Some(run) = keys.run_of(&message.channel) else { return };
        let Some(change) = message::read(message.payload).filter(|change| change.node != me) else {
            return;
        };
        let todo = match change.is_deletion {
            true => self.live.deleted(&run, change.stat.epoch, false),
            false => self.live.stored(&run, change.records, &change.stat, false),
        };
        self.do_it(&run, todo);
    }

    /// Has the other nodes told soon that a stream was changed here.
    pub(super) fn note_changed(&mut self, run: &RunId) {
        if self.changed.is_empty() {
            self.ask(async {
                sleep(GATHER).await;
                Event::TellChanged
            });
        }
        self.changed.insert(run.clone());
    }

    /// Tells the other nodes which streams were changed here. If this node dies before, they look at all.
    pub(super) fn tell_changed(&mut self) {
        let messages =
            message::changed(&self.parts.committer.node, std::mem::take(&mut self.changed));
        let reader = self.reader.clone();
        self.ask(async move {
            for message in messages {
                while let Err(error) = reader.publish_change(&message).await {
                    tracing::debug!(%error, "the other nodes cannot be told of changes now");
                    sleep(AGAIN).await;
                }
            }
            Event::Nothing
        });
    }

    /// Whatever was told may not be all.
    pub(super) fn look_at_all(&mut self) {
        let followed: Vec<RunId> = self.live.runs().cloned().collect();
        followed.iter().for_each(|run| self.look(run));
        self.replicas.outdate_all();
        self.list_changed(None);
    }

    pub(super) fn list_changed(&mut self, after: Option<RunId>) {
        let reader = self.reader.clone();
        self.ask(async move {
            loop {
                match reader.names(after.as_ref(), CHANGED_STEP).await {
                    Ok(names) => return Event::MayHaveChanged(names),
                    Err(error) => tracing::debug!(%error, "the streams cannot be listed now"),
                }
                sleep(AGAIN).await;
            }
        });
    }

    /// Waits for connections to come or go, behind what is known.
    pub(super) fn await_subscriber(&mut self, known: Option<u64>) {
        let subscriber = self.parts.subscriber.clone();
        self.ask(async move {
            match known {
                None => Event::Subscribable(0),
                Some(known) => Event::Subscribable(subscriber.changed(known).await),
            }
        });
    }

    pub(super) fn on_subscribable(&mut self, changes: u64) {
        let runs: Vec<RunId> = self.live.runs().cloned().collect();
        self.hear(runs);
        if let Some((up, is_first)) = self.heard.begin_changes(&self.parts.subscriber) {
            let channel = self.reader.keys.changes();
            self.ask(async move {
                match up.subscribe(&[channel], false).await && !is_first {
                    true => Event::SubscribedToChanges,
                    false => Event::Nothing,
                }
            });
        }
        self.await_subscriber(Some(changes));
    }

    /// Subscribes to the channels of runs where they are not heard yet.
    fn hear(&mut self, runs: Vec<RunId>) {
        let subscriber = &self.parts.subscriber;
        let is_cluster = subscriber.is_cluster();
        for (up, runs) in self.heard.begin(runs.into_iter(), subscriber) {
            let channels: Vec<String> =
                runs.iter().map(|run| self.reader.keys.channel(run)).collect();
            self.ask(async move {
                for some in channels.chunks(SUBSCRIBE_STEP) {
                    if !up.subscribe(some, is_cluster).await {
                        // The next connection is subscribed to all again.
                        return Event::Nothing;
                    }
                }
                Event::Subscribed(runs)
            });
        }
    }

    fn hear_no_more(&mut self, runs: Vec<RunId>) {
        let subscriber = &self.parts.subscriber;
        let is_cluster = subscriber.is_cluster();
        for (up, runs) in self.heard.end(runs, subscriber) {
            let channels: Vec<String> =
                runs.iter().map(|run| self.reader.keys.channel(run)).collect();
            self.ask(async move {
                for some in channels.chunks(SUBSCRIBE_STEP) {
                    up.unsubscribe(some, is_cluster).await;
                }
                Event::Nothing
            });
        }
    }

    pub(super) fn on_follows(&mut self, changes: HashMap<RunId, bool>) {
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for (run, is_followed) in changes {
            match (is_followed, self.live.follows(&run)) {
                (true, false) => {
                    self.live.follow(&run);
                    begun.push(run);
                }
                (false, true) if !run.is_feed() => {
                    self.live.unfollow(&run);
                    ended.push(run);
                }
                _ => {}
            }
        }
        self.hear_no_more(ended);
        self.hear(begun);
    }
}
