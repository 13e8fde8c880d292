//! The names of all keys and channels.
//!
//! The keys of a run have its name in braces, so that a Cluster keeps them in one slot and a script can
//! have them all. The names of runs have no braces. Channels also name the database, which Pub/Sub does
//! not know.

use std::sync::Arc;

use runcast_event::RunId;

use crate::slots::Slot;

/// The channel of all changes, behind what all channels begin with.
const CHANGES: &str = "changes";

/// What the keys of names have in their braces: no run has such a name.
const NAMES: &str = "$names";

/// Makes the names. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Arc<str>,
    /// What all channels begin with.
    channels: Arc<str>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, database: i64) -> Self {
        Self { prefix: prefix.into(), channels: format!("{prefix}@{database}:").into() }
    }

    fn of_run(&self, run: &RunId, what: &str) -> String {
        format!("{}:{{{run}}}:{what}", self.prefix)
    }

    /// How the stream stands, and its producers: a hash.
    pub(crate) fn meta(&self, run: &RunId) -> String {
        self.of_run(run, "meta")
    }

    /// Its events: a stream with the ids `<offset>-<epoch>`. So a range is asked for by offsets alone,
    /// and an offset that was given again after a loss has another id.
    pub(crate) fn events(&self, run: &RunId) -> String {
        self.of_run(run, "events")
    }

    /// What stands for its trimmed events: a string.
    pub(crate) fn base(&self, run: &RunId) -> String {
        self.of_run(run, "base")
    }

    /// How many bytes its events have, up to some of them: a sorted set.
    pub(crate) fn sizes(&self, run: &RunId) -> String {
        self.of_run(run, "sizes")
    }

    /// Entries on their way to the feed: a stream with the ids `<version>-<place>`.
    pub(crate) fn outbox(&self, run: &RunId) -> String {
        self.of_run(run, "outbox")
    }

    /// Where a run's batches are told.
    pub(crate) fn channel(&self, run: &RunId) -> String {
        self.channel_of(&format!("{{{run}}}"))
    }

    /// The channel of what has this in braces.
    pub(crate) fn channel_of(&self, tag: &str) -> String {
        format!("{}{tag}", self.channels)
    }

    /// Where it is told which runs change.
    pub(crate) fn changes(&self) -> String {
        self.channel_of(CHANGES)
    }

    /// Whether this is where that is told.
    pub(crate) fn is_changes(&self, channel: &[u8]) -> bool {
        channel.strip_prefix(self.channels.as_bytes()) == Some(CHANGES.as_bytes())
    }

    /// The slot of all that a run has.
    pub(crate) fn slot(run: &RunId) -> Slot {
        Slot::of(run.as_str())
    }

    /// The names of all streams, and of those that were deleted not long ago: a sorted set.
    pub(crate) fn names(&self) -> String {
        format!("{}:{{{NAMES}}}", self.prefix)
    }

    /// When names were noted lately: a sorted set.
    pub(crate) fn noted_names(&self) -> String {
        format!("{}:{{{NAMES}}}:noted", self.prefix)
    }

    /// Runs whose outboxes are not empty, or will not be: a hash.
    pub(crate) fn pending(&self) -> String {
        self.of_run(&RunId::feed(), "pending")
    }

    /// When producers gave a sign, in milliseconds of Redis's clock: a sorted set.
    pub(crate) fn signs(&self) -> String {
        format!("{}:signs", self.prefix)
    }

    /// What belongs to the inbox: `events`, a stream, `numbers`, a hash, `refused`, a stream.
    pub(crate) fn inbox(&self, what: &str) -> String {
        format!("{}:{{inbox}}:{what}", self.prefix)
    }

    /// Which node looks after which streams: a hash.
    pub(crate) fn duties(&self) -> String {
        format!("{}:duties", self.prefix)
    }

    /// Which history of Redis this is: a hash.
    pub(crate) fn history(&self) -> String {
        format!("{}:history", self.prefix)
    }

    /// Which history of a slot of a Cluster this is, by a word that is in the slot: a hash.
    pub(crate) fn history_of_slot(&self, word: u32) -> String {
        format!("{}:{{{word}}}:history", self.prefix)
    }

    /// What the names of all keys and channels begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The run whose channel this is.
    pub(crate) fn run_of(&self, channel: &[u8]) -> Option<RunId> {
        let channel = std::str::from_utf8(channel).ok()?;
        let name = channel.strip_prefix(&*self.channels)?.strip_prefix('{')?;
        RunId::from_stored(name.strip_suffix('}')?).ok()
    }
}
