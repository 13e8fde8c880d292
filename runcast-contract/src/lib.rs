//! The suite that every engine passes, and what its tests are made of.
//!
//! Only tests depend on it. An engine's tests make an [`Engine`] and put it through [`all_facts!`].

#![allow(missing_docs, clippy::unwrap_used)]

use std::any::Any;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use runcast_event::{Offset, ProducerId, RunId};
use runcast_log::{
    Append, CommitObserver, Committed, Log, NewEvents, NotAdmitted, Page, ProducerStamp, ReadError,
    ReadLimit, Refusal,
};

pub mod facts;
pub mod model;
pub mod redis_server;

/// An engine, what it tells its observer, and what it needs to stay.
pub struct Engine {
    pub log: Arc<dyn Log>,
    pub recorder: Arc<Recorder>,
    /// Whether it knows how many events there are.
    pub counts_events: bool,
    pub keeps: Box<dyn Any + Send>,
}

/// Makes a test of each fact: `all_facts!(name of the module, what makes the engine)`. Or one of all, where
/// it takes long to begin: `all_facts!(together name of the test, server = what begins, what makes the
/// engine with it)`.
#[macro_export]
macro_rules! all_facts {
    (together $test:ident, $server:ident = $begin:expr, $engine:expr) => {
        $crate::all_facts!(@ [together $test, $server = $begin, $engine]);
    };
    ($module:ident, $engine:expr) => {
        $crate::all_facts!(@ [$module, $engine]);
    };
    (@ [$($how:tt)*]) => {
        $crate::all_facts!(@ [$($how)*]; offsets_are_given_without_a_hole a_page_ends_at_its_limits a_page_behind_the_end_is_empty a_stream_that_never_was_is_told_from_a_deleted_one a_stream_made_again_has_another_epoch a_closed_stream_takes_nothing_more a_retry_is_acknowledged_and_stored_once a_retry_of_what_waits_in_the_same_group_is_stored_once an_expected_offset_is_kept_to a_stream_is_made_only_if_asked_for streams_are_listed_in_order the_observer_hears_of_every_commit_in_order what_is_acknowledged_is_seen_by_a_reader_at_once batches_of_many_tasks_are_stored_whole_and_in_one_order large_events_are_given_back_as_they_were a_log_that_is_shut_down_takes_nothing_more the_feed_has_one_entry_for_every_new_event_that_it_tells_of the_feed_is_no_run what_the_observer_does_not_admit_is_not_stored what_is_trimmed_is_gone_and_offsets_stay a_trimmed_stream_goes_on_as_any_other what_stands_for_trimmed_events_is_kept_until_the_next_trim what_was_decided_of_another_stream_of_the_name_is_not_done the_newest_events_that_take_so_many_bytes_are_found);
    };
    (@ [together $test:ident, $server:ident = $begin:expr, $engine:expr]; $($fact:ident)*) => {
        #[tokio::test]
        async fn $test() {
            let $server = $begin;
            $($crate::facts::$fact($engine).await;)*
        }
    };
    (@ [$module:ident, $engine:expr]; $($fact:ident)*) => {
        mod $module {
            $(#[tokio::test] async fn $fact() { $crate::facts::$fact($engine).await })*
        }
    };
}

pub const ALL: ReadLimit = ReadLimit { events_max: usize::MAX, bytes_max: usize::MAX };

pub fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

pub fn batch(name: &str, events: &[&str]) -> Append {
    Append {
        run: run(name),
        events: events.iter().map(|event| Bytes::copy_from_slice(event.as_bytes())).collect(),
        close: false,
        expected_last: None,
        producer: None,
        create: true,
    }
}

pub fn stamped(name: &str, events: &[&str], id: &str, epoch: u64, sequence: u64) -> Append {
    let id = ProducerId::new(id).unwrap();
    Append { producer: Some(ProducerStamp { id, epoch, sequence }), ..batch(name, events) }
}

pub fn texts(page: &Page) -> Vec<(u64, String)> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    page.records.iter().map(|record| (record.offset.get(), text(&record.payload))).collect()
}

/// All events of a stream.
pub async fn events(log: &dyn Log, name: &str) -> Result<Vec<String>, ReadError> {
    let page = log.read(&run(name), Offset::START, ALL).await?;
    let texts = texts(&page);
    assert!(texts.iter().map(|(offset, _)| *offset).eq(1..=texts.len() as u64), "no hole");
    assert_eq!(page.stat.last.get(), texts.len() as u64);
    Ok(texts.into_iter().map(|(_, text)| text).collect())
}

/// Remembers every commit.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Committed>>);

impl Recorder {
    pub fn take(&self) -> Vec<Committed> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl CommitObserver for Recorder {
    fn committed(&self, changes: Vec<Committed>) {
        self.0.lock().unwrap().extend(changes);
    }

    /// Events that begin with `life` go into the feed, and deletions of runs that do.
    /// Those that begin with `no` are refused.
    fn admit(&self, events: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        let NewEvents { run, epoch, begins, records, .. } = events;
        if let Some(event) = records.iter().position(|record| record.payload.starts_with(b"no")) {
            let (code, detail) = ("no", "it says no".to_owned());
            let refusal = Refusal { event, code, detail, state: None, allowed: Vec::new() };
            return Err(refusal.into());
        }
        let first = if begins { " begins" } else { "" };
        let wanted = records.iter().filter(|record| record.payload.starts_with(b"life"));
        Ok(wanted.map(|r| format!("{run}{first} {epoch}.{}", r.offset).into()).collect())
    }

    fn feed_deletion(&self, run: &RunId) -> Option<Bytes> {
        run.as_str().starts_with("life").then(|| format!("{run} deleted").into())
    }
}

/// All entries of the feed.
pub async fn feed(log: &dyn Log) -> Vec<String> {
    match log.read(&RunId::feed(), Offset::START, ALL).await {
        Err(ReadError::NotFound) => Vec::new(),
        page => {
            let texts = texts(&page.unwrap());
            assert!(texts.iter().map(|(offset, _)| *offset).eq(1..=texts.len() as u64), "no hole");
            texts.into_iter().map(|(_, text)| text).collect()
        }
    }
}
