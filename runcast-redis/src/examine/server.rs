//! What the server says of itself: its version, role, memory, disk and replicas.

use super::{Finding, Patient, amount};
use crate::error::VERSION_MIN;
use crate::fit::{self, field, is_replica, numbers};

/// The oldest version with functions and with Pub/Sub that a Cluster does not send everywhere.
const VERSION_WHOLE: &str = "7.0";
/// How full the memory may be, in parts of a hundred, before somebody should know.
const FULL_PERCENT_MAX: u64 = 80;

pub(super) async fn findings(patient: &mut Patient, info: &str) -> Vec<Finding> {
    let min_replicas = patient.setting("min-replicas-to-write").await;
    let fsync = patient.setting("appendfsync").await;
    let save = patient.setting("save").await;
    let wait = patient.common.options.wait_replicas;
    let mut findings = vec![version(info), role(info), policy(info), memory(info)];
    findings.push(persistence(info, fsync.as_deref(), save.as_deref()));
    findings.push(replicas(info, min_replicas.as_deref(), wait));
    findings
}

fn version(info: &str) -> Finding {
    let said = field(info, "redis_version").unwrap_or("unknown");
    let what = match field(info, "valkey_version") {
        Some(valkey) => format!("Valkey {valkey}, which is as Redis {said}"),
        None => format!("Redis {said}"),
    };
    if numbers(said) < numbers(VERSION_MIN) {
        let remedy = format!("use {VERSION_MIN} or newer");
        return Finding::problem("version", format!("{what} is too old"), remedy);
    }
    if numbers(said) < numbers(VERSION_WHOLE) {
        let what = format!("{what} has no functions and no sharded Pub/Sub");
        return Finding::note("version", what, format!("{VERSION_WHOLE} or newer has them"));
    }
    Finding::ok("version", what)
}

fn role(info: &str) -> Finding {
    let mode = field(info, "redis_mode").unwrap_or("standalone");
    if is_replica(info) {
        let primary = field(info, "master_host").unwrap_or("unknown");
        let what = format!("it is a replica of {primary}, which takes nothing");
        return Finding::problem("role", what, "name the primary");
    }
    Finding::ok("role", format!("primary, {mode}"))
}

fn policy(info: &str) -> Finding {
    let policy = fit::policy(info);
    if !fit::throws_away(policy) {
        return Finding::ok("maxmemory-policy", policy);
    }
    let what = format!("{policy}: what is acknowledged may be thrown away when memory is full");
    let remedy = "CONFIG SET maxmemory-policy noeviction, and in its configuration";
    Finding::problem("maxmemory-policy", what, remedy)
}

fn memory(info: &str) -> Finding {
    let number = |name| field(info, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (used, max) = (number("used_memory"), number("maxmemory"));
    if max == 0 {
        let machine = number("total_system_memory");
        let what = format!("{} of {} used, without a maxmemory", amount(used), amount(machine));
        let remedy = "set maxmemory: then appends are refused when it is full, and Redis is not \
                      killed by the system";
        return Finding::note("memory", what, remedy);
    }
    let percent = used.saturating_mul(100) / max;
    let what = format!("{} of {} used ({percent} %)", amount(used), amount(max));
    let remedy = "raise maxmemory, or have less kept (docs/configuration.md, retention)";
    match percent {
        100.. => Finding::problem("memory", format!("{what}: appends are refused"), remedy),
        FULL_PERCENT_MAX.. => Finding::note("memory", what, remedy),
        _ => Finding::ok("memory", what),
    }
}

/// What is lost when Redis is killed, in the words of docs/redis.md.
fn persistence(info: &str, fsync: Option<&str>, save: Option<&str>) -> Finding {
    const CHECK: &str = "persistence";
    let is = |name, value| field(info, name) == Some(value);
    if is("aof_last_write_status", "err") || is("aof_last_bgrewrite_status", "err") {
        let what =
            "the last write of the append-only file failed: what it acknowledges may be lost";
        return Finding::problem(CHECK, what, "look into its log, and at the room on its disk");
    }
    if is("aof_enabled", "1") {
        let lost = match fsync {
            Some("always") => "nothing is lost when Redis or its machine is killed",
            Some("no") => {
                "nothing is lost when Redis is killed; when its machine is, what the system had not \
                 written, often half a minute"
            }
            _ => "nothing is lost when Redis is killed; when its machine is, about the last second",
        };
        let fsync = fsync.map(|fsync| format!(", appendfsync {fsync}")).unwrap_or_default();
        return Finding::ok(CHECK, format!("appendonly yes{fsync}: {lost}"));
    }
    let what = match save {
        Some("") => "neither appendonly nor save: everything is lost when Redis is killed",
        _ => "save only: everything since the last snapshot is lost when Redis is killed",
    };
    Finding::problem(CHECK, what, "CONFIG SET appendonly yes, and in its configuration")
}

fn replicas(info: &str, min: Option<&str>, wait: u32) -> Finding {
    const CHECK: &str = "replicas";
    let connected = field(info, "connected_slaves").and_then(|text| text.parse().ok()).unwrap_or(0);
    let min = min.and_then(|min| min.parse().ok()).unwrap_or(0_u32);
    let needs = |name: &str, count: u32| format!("{name} {count} of {connected} connected");
    if connected < wait {
        let what = format!("{}: nothing is acknowledged", needs("--redis-wait needs", wait));
        return Finding::problem(CHECK, what, "start replicas, or ask for fewer");
    }
    if connected < min {
        let what = format!("{}: nothing is taken", needs("min-replicas-to-write needs", min));
        return Finding::problem(CHECK, what, "start replicas, or lower min-replicas-to-write");
    }
    match (connected, wait) {
        (0, _) => Finding::ok(CHECK, "none: while Redis is away, nothing is taken"),
        (_, 0) => {
            let what = format!(
                "{connected} connected, none of which is waited for: when one takes over, what it did \
                 not have yet is lost"
            );
            Finding::note(CHECK, what, "serve with --redis-wait 1")
        }
        _ => Finding::ok(CHECK, format!("{connected} connected, {wait} of which are waited for")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examine::Grade;

    #[test]
    fn versions_are_known_for_what_they_have() {
        let grade = |info: &str| version(info).grade;
        assert_eq!(grade("redis_version:6.0.9\r\n"), Grade::Problem);
        assert_eq!(grade("redis_version:6.2.14\r\n"), Grade::Note);
        assert_eq!(grade("redis_version:7.0.0\r\n"), Grade::Ok);
        let valkey = version("redis_version:7.2.4\r\nvalkey_version:8.1.1\r\n");
        assert!(valkey.what.contains("Valkey 8.1.1"), "{valkey:?}");
    }

    #[test]
    fn what_is_lost_is_said_by_how_redis_writes() {
        let lost = |info: &str, fsync, save| persistence(info, fsync, save);
        let aof = "aof_enabled:1\r\naof_last_write_status:ok\r\n";
        assert!(lost(aof, Some("always"), None).what.contains("nothing is lost when Redis or"));
        assert!(lost(aof, Some("everysec"), None).what.contains("about the last second"));
        assert_eq!(lost(aof, None, None).grade, Grade::Ok, "it does not tell its settings");
        let none = "aof_enabled:0\r\n";
        assert!(lost(none, None, Some("")).what.contains("everything is lost"));
        assert!(lost(none, None, Some("3600 1")).what.contains("since the last snapshot"));
        let failed = "aof_enabled:1\r\naof_last_write_status:err\r\n";
        assert_eq!(lost(failed, Some("always"), None).grade, Grade::Problem);
    }

    #[test]
    fn fewer_replicas_than_are_asked_for_are_a_problem() {
        let grade = |connected: u32, min, wait| {
            replicas(&format!("connected_slaves:{connected}\r\n"), min, wait).grade
        };
        assert_eq!(grade(0, Some("0"), 0), Grade::Ok);
        assert_eq!(grade(0, Some("1"), 0), Grade::Problem);
        assert_eq!(grade(1, Some("0"), 2), Grade::Problem);
        assert_eq!(grade(1, None, 0), Grade::Note);
        assert_eq!(grade(2, Some("1"), 1), Grade::Ok);
    }

    #[test]
    fn memory_that_is_nearly_full_or_has_no_bound_is_told() {
        let grade = |used: u64, max: u64| {
            memory(&format!("used_memory:{used}\r\nmaxmemory:{max}\r\n")).grade
        };
        let grades = [(1, 0), (79, 100), (80, 100), (100, 100)].map(|(used, max)| grade(used, max));
        assert_eq!(grades, [Grade::Note, Grade::Ok, Grade::Note, Grade::Problem]);
    }

    #[test]
    fn a_policy_that_throws_streams_away_is_a_problem() {
        let grade = |policy: &str| super::policy(&format!("maxmemory_policy:{policy}\r\n")).grade;
        assert_eq!(grade("allkeys-lru"), Grade::Problem);
        assert_eq!(grade("volatile-ttl"), Grade::Problem);
        assert_eq!(grade("noeviction"), Grade::Ok);
    }
}
