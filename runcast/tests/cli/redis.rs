//! `runcast doctor --redis`, on a Redis of its own.

use runcast_contract::redis_server::{Cluster, Server as Redis};
use serde_json::Value;

use crate::process::{Ended, Running, ended};

fn doctor(url: &str, flags: &[&str]) -> Ended {
    ended(&[&["doctor", "--redis", url], flags].concat())
}

fn grades(told: &Value) -> Vec<(&str, &str)> {
    let findings = told["findings"].as_array().unwrap().iter();
    findings
        .map(|one| (one["check"].as_str().unwrap(), one["severity"].as_str().unwrap()))
        .collect()
}

#[test]
fn the_doctor_finds_a_redis_as_it_must_be_and_says_who_uses_it() {
    let redis = Redis::start_with(&["--appendonly", "yes", "--maxmemory", "1gb"]);
    let empty = doctor(&redis.url(), &[]);
    assert_eq!(empty.code, Some(0), "{}{}", empty.out, empty.err);
    assert!(
        empty.out.contains("no runs") && empty.out.contains("none is connected"),
        "{}",
        empty.out
    );
    let args = ["serve", "--listen", "127.0.0.1:0", "--redis", &redis.url()];
    let mut server = Running::start(&args);
    let line = server.out.next().unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let published = ended(&["publish", "r", "my.event", "--url", url]);
    assert_eq!(published.code, Some(0), "{}", published.err);
    let before = redis.command(&["KEYS", "*"]);
    let told: Value = serde_json::from_str(&doctor(&redis.url(), &["--json"]).out).unwrap();
    assert_eq!(told["sound"], Value::Bool(true), "{told:#}");
    assert!(grades(&told).iter().all(|(_, grade)| *grade == "ok"), "{told:#}");
    let what = |check: &str| {
        let of = told["findings"].as_array().unwrap().iter().find(|one| one["check"] == check);
        of.unwrap()["what"].as_str().unwrap().to_owned()
    };
    assert!(what("servers").starts_with("1 connected"), "{told:#}");
    assert!(what("keys").starts_with("runs: 1,"), "{told:#}");
    assert!(what("persistence").contains("about the last second"), "{told:#}");
    let sorted = |text: &str| {
        let mut keys: Vec<String> = text.lines().map(str::to_owned).collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(&redis.command(&["KEYS", "*"])), sorted(&before), "nothing is left behind");
}

#[test]
fn the_doctor_says_what_a_redis_loses_throws_away_and_refuses() {
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let narrow = "~rc:* &rc@* +@all -xtrim -publish";
    let words: Vec<&str> =
        ["ACL", "SETUSER", "narrow", "on", ">pw"].into_iter().chain(narrow.split(' ')).collect();
    assert!(redis.command(&words).contains("OK"));
    let url = redis.url().replace("://", "://narrow:pw@");
    let found = doctor(&url, &["--redis-wait", "2"]);
    assert_eq!(found.code, Some(1), "{}{}", found.out, found.err);
    assert!(!found.out.contains("pw@"), "no password is shown: {}", found.out);
    let problem = |check: &str| {
        let line = found.out.lines().find(|line| line.starts_with(&format!("problem  {check}")));
        line.unwrap_or_else(|| panic!("{check}: {}", found.out)).to_owned()
    };
    assert!(problem("maxmemory-policy").contains("CONFIG SET maxmemory-policy noeviction"));
    assert!(problem("persistence").contains("everything is lost"));
    assert!(problem("permissions").contains("XTRIM: "), "{}", found.out);
    assert!(problem("Pub/Sub").contains("no permissions"), "{}", found.out);
    assert!(problem("replicas").contains("--redis-wait needs 2 of 0"));
    assert!(!found.out.contains("problem  latency"), "{}", found.out);
}

#[test]
fn the_doctor_cannot_check_a_redis_that_is_not_there() {
    let redis = Redis::start();
    let url = redis.url();
    drop(redis);
    let away = doctor(&url, &[]);
    assert_eq!(away.code, Some(2), "{}{}", away.out, away.err);
    assert!(away.err.contains("cannot be used"), "{}", away.err);
}

#[test]
fn the_doctor_looks_at_every_primary_of_a_cluster() {
    let cluster = Cluster::start();
    let told: Value = serde_json::from_str(&doctor(&cluster.url(), &["--json"]).out).unwrap();
    let of = |check: &str| grades(&told).iter().filter(|(name, _)| *name == check).count();
    assert_eq!((of("permissions"), of("latency"), of("keys")), (3, 3, 0), "{told:#}");
    let is_fit = |(check, grade): &(&str, &str)| *grade != "problem" || *check == "persistence";
    assert!(grades(&told).iter().all(is_fit), "{told:#}");
}
