//! Every bound and time of a server that can be set, by the name it has in the configuration file and
//! behind `--set`. `docs/configuration.md` has the same table, which a test keeps true.

use std::time::Duration;

use super::Configured;

/// The longest time that can be set.
const TIME_MAX: Duration = Duration::from_hours(24);
/// The most of anything that is counted.
const COUNT_MAX: u64 = 100_000_000;
/// The most bytes.
const BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// The most events that a script of Redis stores in one go: each may bring a field of the hash.
const REDIS_GROUP_MAX: u64 = 1_000;
/// The most threads.
const THREADS_MAX: u64 = 1_024;

/// Where a setting is kept, and in which unit it is written.
enum Slot<'a> {
    /// Seconds, in decimals if need be.
    Seconds(&'a mut Duration),
    /// A number of things, up to so many.
    Count(&'a mut usize, u64),
    /// Bytes in memory.
    Bytes(&'a mut usize),
    /// Bytes on disk.
    DiskBytes(&'a mut u64),
}

/// One of them.
pub(super) struct Setting {
    /// Its name. The unit of a time is its ending.
    name: &'static str,
    slot: fn(&mut Configured) -> Slot<'_>,
}

/// A value that a setting cannot have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum SettingError {
    #[error("there is no setting {name:?}{}", hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default())]
    Unknown { name: String, hint: Option<&'static str> },
    #[error("{name} must be {expected}, not {given}")]
    Invalid { name: &'static str, expected: String, given: String },
}

macro_rules! settings {
    ($($name:ident: $kind:ident($($path:ident).+ $(, $max:expr)?);)*) => {
        /// All of them, in the order of the documentation.
        pub(super) const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            slot: |config| Slot::$kind(&mut config.$($path).+ $(, $max)?),
        }),*];
    };
}

settings! {
    heartbeat_s: Seconds(http.heartbeat);
    stalled_s: Seconds(http.limits.write_stall_timeout);
    pong_timeout_s: Seconds(http.limits.pong_timeout);
    drain_s: Seconds(http.drain);
    reconnect_spread_s: Seconds(http.limits.reconnect_spread);
    plane_shards: Count(http.plane_shards, THREADS_MAX);
    api_workers: Count(http.api_workers, THREADS_MAX);
    connections_max: Count(http.limits.connections_max, COUNT_MAX);
    followers_max: Count(hub.followers_max, COUNT_MAX);
    head_bytes_max: Bytes(http.limits.head_bytes_max);
    head_timeout_s: Seconds(http.limits.head_timeout);
    idle_timeout_s: Seconds(http.limits.idle_timeout);
    body_timeout_s: Seconds(http.limits.body_timeout);
    body_idle_timeout_s: Seconds(http.limits.body_idle_timeout);
    scan_events_max: Count(http.limits.scan_events_max, COUNT_MAX);
    state_wait_s: Seconds(http.limits.state_wait);
    silent_after_s: Seconds(http.limits.silent_after);
    feed_events_max: Count(http.limits.feed_events_max, COUNT_MAX);
    save_states_every_s: Seconds(http.limits.save_states_every);
    tail_bytes_max: Bytes(hub.tail_bytes_max);
    tails_bytes_max: Bytes(hub.tails_bytes_max);
    page_events_max: Count(hub.page_events_max, COUNT_MAX);
    page_bytes_max: Bytes(hub.page_bytes_max);
    wal_bytes_max: DiskBytes(log.wal_bytes_max);
    room_bytes_max: DiskBytes(log.room_bytes_max);
    group_bytes_max: Bytes(log.group_bytes_max);
    queue_appends_max: Count(log.queue_appends_max, COUNT_MAX);
    queue_bytes_max: Bytes(log.queue_bytes_max);
    producers_max: Count(log.producers_max, COUNT_MAX);
    wals_waiting_max: Count(log.wals_waiting_max, COUNT_MAX);
    seal_memory_bytes_max: Bytes(log.seal_memory_bytes_max);
    segment_bytes_max: DiskBytes(log.segment_bytes_max);
    merge_segments: Count(log.merge_segments, COUNT_MAX);
    tombstones_max: Count(log.tombstones_max, COUNT_MAX);
    files_open_max: Count(log.files_open_max, COUNT_MAX);
    erase_within_s: Seconds(log.erase_within);
    scrub_every_s: Seconds(log.scrub_every);
    away_max_s: Seconds(hub.away_max);
    redis_connect_timeout_s: Seconds(redis.connect_timeout);
    redis_command_timeout_s: Seconds(redis.command_timeout);
    redis_away_max_s: Seconds(redis.away_max);
    redis_unknown_max_s: Seconds(redis.unknown_max);
    redis_check_every_s: Seconds(redis.check_every);
    redis_refill_s: Seconds(redis.refill_time);
    redis_refill_kept_s: Seconds(redis.refill_kept);
    redis_refill_bytes_max: Bytes(redis.refill_bytes_max);
    redis_tombstone_s: Seconds(redis.tombstone);
    redis_lease_s: Seconds(redis.lease);
    redis_pending_max_s: Seconds(redis.pending_max);
    redis_wait_timeout_s: Seconds(redis.wait_timeout);
    redis_queue_appends_max: Count(redis.queue_appends_max, COUNT_MAX);
    redis_queue_bytes_max: Bytes(redis.queue_bytes_max);
    redis_group_events_max: Count(redis.group_events_max, REDIS_GROUP_MAX);
    redis_group_bytes_max: Bytes(redis.group_bytes_max);
    redis_producers_max: Count(redis.producers_max, COUNT_MAX);
    redis_runs_kept_max: Count(redis.runs_kept_max, COUNT_MAX);
    redis_messages_max: Count(redis.messages_max, COUNT_MAX);
    redis_messages_bytes_max: Bytes(redis.messages_bytes_max);
    redis_inbox_entries_max: Count(redis.inbox_entries_max, COUNT_MAX);
    redis_inbox_bytes_max: Bytes(redis.inbox_bytes_max);
}

/// Sets what is named to a number.
pub(super) fn set(config: &mut Configured, name: &str, value: f64) -> Result<(), SettingError> {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let setting = setting
        .ok_or_else(|| SettingError::Unknown { name: name.to_owned(), hint: nearest(name) })?;
    let invalid = |expected: String| SettingError::Invalid {
        name: setting.name,
        expected,
        given: value.to_string(),
    };
    let whole = |max: u64| match value {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        value if value.fract() == 0.0 && (1.0..=max as f64).contains(&value) => Ok(value as u64),
        _ => Err(invalid(format!("a whole number from 1 to {max}"))),
    };
    let size = |max| Ok(usize::try_from(whole(max)?).unwrap_or(usize::MAX));
    match (setting.slot)(config) {
        Slot::Seconds(time) => {
            let seconds = Duration::try_from_secs_f64(value).ok();
            *time = seconds
                .filter(|seconds| *seconds >= TIME_MIN && *seconds <= TIME_MAX)
                .ok_or_else(|| invalid(format!("seconds from 0.001 to {}", TIME_MAX.as_secs())))?;
        }
        Slot::Count(count, max) => *count = size(max)?,
        Slot::Bytes(bytes) => *bytes = size(BYTES_MAX)?,
        Slot::DiskBytes(bytes) => *bytes = whole(BYTES_MAX)?,
    }
    Ok(())
}

/// The shortest time that can be set.
const TIME_MIN: Duration = Duration::from_millis(1);

/// The name that is most like one that is not there.
fn nearest(name: &str) -> Option<&'static str> {
    let alike = |setting: &&Setting| {
        let known = setting.name;
        known.starts_with(name) || name.starts_with(known) || edits(known, name) <= EDITS_MAX
    };
    SETTINGS.iter().filter(alike).map(|setting| setting.name).min_by_key(|known| edits(known, name))
}

/// How far a misspelt name may be from the one that was meant.
const EDITS_MAX: usize = 3;

/// How many letters must be put in, taken out or changed to make one word of the other.
fn edits(one: &str, other: &str) -> usize {
    let other = other.as_bytes();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, known) in other.iter().enumerate() {
            let change = diagonal + usize::from(byte != *known);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::tests::config;

    #[test]
    fn each_is_documented_with_its_default() {
        let documentation = include_str!("../../../docs/configuration.md");
        let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: Vec<(&str, &str)> = rows
            .filter_map(|row| row.split_once("` | "))
            .filter_map(|(name, rest)| Some((name, rest.split_once(" |")?.0)))
            .filter(|(name, _)| SETTINGS.iter().any(|setting| setting.name == *name))
            .collect();
        let mut config = config();
        let actual: Vec<(&str, String)> = SETTINGS
            .iter()
            .map(|setting| {
                let value = match (setting.slot)(&mut config) {
                    Slot::Seconds(time) => time.as_secs_f64().to_string(),
                    Slot::Count(count, _) => count.to_string(),
                    Slot::Bytes(bytes) => bytes.to_string(),
                    Slot::DiskBytes(bytes) => bytes.to_string(),
                };
                (setting.name, value)
            })
            .map(|(name, value)| match name {
                "plane_shards" | "api_workers" => (name, "half of the processors".to_owned()),
                _ => (name, value),
            })
            .collect();
        let actual: Vec<(&str, &str)> =
            actual.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(documented, actual);
    }

    #[test]
    fn each_can_be_set_and_none_to_nothing() {
        for setting in SETTINGS {
            let mut config = config();
            set(&mut config, setting.name, 1.0).unwrap();
            for wrong in [0.0, -1.0, 1e18, f64::NAN, f64::INFINITY] {
                let error = set(&mut config, setting.name, wrong).unwrap_err();
                assert!(error.to_string().starts_with(setting.name), "{error}");
            }
        }
    }

    #[test]
    fn times_have_decimals_and_counts_do_not() {
        let mut config = config();
        set(&mut config, "stalled_s", 0.25).unwrap();
        assert_eq!(config.http.limits.write_stall_timeout, Duration::from_millis(250));
        let error = set(&mut config, "connections_max", 1.5).unwrap_err();
        let expected = "connections_max must be a whole number from 1 to 100000000, not 1.5";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_one_that_was_meant() {
        let set = |name| set(&mut config(), name, 1.0).unwrap_err().to_string();
        assert_eq!(set("stall_s"), "there is no setting \"stall_s\"; did you mean \"stalled_s\"?");
        assert_eq!(set("drain"), "there is no setting \"drain\"; did you mean \"drain_s\"?");
        assert_eq!(set("colour"), "there is no setting \"colour\"");
    }
}
