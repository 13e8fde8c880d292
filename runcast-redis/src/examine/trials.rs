//! What is tried: every command that a node sends, a message there and back, how long answers take, and how
//! far the clocks are apart.

use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, PushKind, RedisError, RedisResult, Value};
use runcast_event::RunId;
use tokio::time::timeout;

use super::{Finding, Patient};
use crate::link::{field, numbers};

/// Commands of which the latency is measured.
const LATENCY_TIMES: usize = 100;
/// The median latency above which somebody should know: each batch of events takes a few of these.
const LATENCY_MEDIAN_MAX: Duration = Duration::from_millis(5);
/// How far the clocks may be apart.
const SKEW_MAX: Duration = Duration::from_secs(1);
/// How long a message may take there and back.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(2);

/// The hash of no script, by which it can be tried whether any may be called.
const NO_SCRIPT: &str = "0000000000000000000000000000000000000000";

pub(super) async fn findings(patient: &mut Patient, info: &str) -> Vec<Finding> {
    let has_functions = numbers(field(info, "redis_version").unwrap_or_default()) >= (7, 0);
    let key = format!("{}:{{$doctor}}:{}", patient.keys.prefix(), RunId::random());
    let findings = vec![
        permissions(patient, &key, has_functions).await,
        messages(patient).await,
        latency(patient, &key).await,
        clocks(patient).await,
    ];
    let left = [":meta", ":events", ":sizes", ":base"].map(|end| format!("{key}{end}"));
    // What cannot be deleted was refused before, and told.
    let _told = patient.ask::<Value>(redis::cmd("DEL").arg(&left)).await;
    findings
}

/// Every command that a node sends, with keys of its own.
fn commands(key: &str) -> Vec<Vec<String>> {
    let of = |end: &str| format!("{key}:{end}");
    let (meta, events, sizes, base) = (of("meta"), of("events"), of("sizes"), of("base"));
    let lines = [
        format!("HSET {meta} v 1"),
        format!("HGET {meta} v"),
        format!("HMGET {meta} v"),
        format!("HGETALL {meta}"),
        format!("HSCAN {meta} 0"),
        format!("HINCRBY {meta} n 1"),
        format!("HDEL {meta} n"),
        format!("XADD {events} * n e"),
        format!("XRANGE {events} - + COUNT 1"),
        format!("XLEN {events}"),
        format!("XTRIM {events} MAXLEN 0"),
        format!("ZADD {sizes} 1 m"),
        format!("ZSCORE {sizes} m"),
        format!("ZCARD {sizes}"),
        format!("ZRANGE {sizes} 0 0"),
        format!("ZRANGEBYLEX {sizes} - + LIMIT 0 1"),
        format!("ZREMRANGEBYSCORE {sizes} 1 1"),
        format!("SET {base} b"),
        format!("GET {base}"),
        format!("UNLINK {base}"),
        "TIME".to_owned(),
        "INFO server".to_owned(),
        format!("PUBSUB NUMSUB {key}"),
        "WAIT 0 0".to_owned(),
        "CLIENT SETNAME runcast:doctor".to_owned(),
        format!("EVAL return{{}} 1 {meta}"),
        "SCRIPT LOAD return{}".to_owned(),
        format!("EVALSHA {NO_SCRIPT} 0"),
    ];
    lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

fn command(words: &[String]) -> Cmd {
    let mut cmd = redis::cmd(&words[0]);
    cmd.arg(&words[1..]);
    cmd
}

async fn permissions(patient: &mut Patient, key: &str, has_functions: bool) -> Finding {
    const CHECK: &str = "permissions";
    let mut commands = commands(key);
    if has_functions {
        commands.push(["FUNCTION", "LIST"].map(str::to_owned).into());
    }
    let mut refused = Vec::new();
    for words in &commands {
        if let Err(error) = patient.ask::<Value>(&command(words)).await
            && error.code() != Some("NOSCRIPT")
        {
            let name = match words[0].as_str() {
                first @ ("PUBSUB" | "CLIENT" | "SCRIPT" | "FUNCTION") => {
                    format!("{first} {}", words[1])
                }
                first => first.to_owned(),
            };
            refused.push(format!("{name} ({})", said(&error)));
        }
    }
    if refused.is_empty() {
        return Finding::ok(CHECK, format!("all {} commands that are used", commands.len()));
    }
    let prefix = patient.keys.prefix();
    let remedy = format!(
        "allow the user what it lacks: ACL SETUSER <user> ~{prefix}:* &{prefix}@* +@read +@write \
         +@scripting +@pubsub +@connection +info +time +wait"
    );
    Finding::problem(CHECK, format!("refused: {}", refused.join("; ")), remedy)
}

/// What Redis said, in few words.
fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => code.to_owned(),
        None => error.to_string(),
    }
}

async fn messages(patient: &mut Patient) -> Finding {
    const CHECK: &str = "Pub/Sub";
    let channel = patient.keys.channel_of("doctor");
    let begun = Instant::now();
    let came = there_and_back(patient, &channel).await;
    match came {
        Ok(true) => {
            Finding::ok(CHECK, format!("a message came back in {}", millis(begun.elapsed())))
        }
        Ok(false) => {
            let what = format!("no message came back in {}", millis(MESSAGE_TIME_MAX));
            let remedy = "a proxy in front of Redis may not pass messages on: connect without it";
            Finding::problem(CHECK, what, remedy)
        }
        Err(error) => {
            let prefix = patient.keys.prefix();
            let remedy = format!("ACL SETUSER <user> &{prefix}@* +@pubsub");
            Finding::problem(CHECK, format!("refused: {error}"), remedy)
        }
    }
}

async fn there_and_back(patient: &mut Patient, channel: &str) -> RedisResult<bool> {
    patient.connection.subscribe(channel).await?;
    patient.ask::<Value>(redis::cmd("PUBLISH").arg(channel).arg("there")).await?;
    let pushes = &mut patient.pushes;
    let comes = async {
        while let Some(push) = pushes.recv().await {
            if push.kind == PushKind::Message {
                return true;
            }
        }
        false
    };
    let came = timeout(MESSAGE_TIME_MAX, comes).await.unwrap_or(false);
    patient.connection.unsubscribe(channel).await?;
    Ok(came)
}

async fn latency(patient: &mut Patient, key: &str) -> Finding {
    const CHECK: &str = "latency";
    let ping = redis::cmd("PING");
    let mut script = redis::cmd("EVAL");
    script.arg("return redis.call('HGETALL', KEYS[1])").arg(1).arg(format!("{key}:meta"));
    let (ping, script) = match (measured(patient, &ping).await, measured(patient, &script).await) {
        (Ok(ping), Ok(script)) => (ping, script),
        (Err(error), _) | (_, Err(error)) => {
            return Finding::problem(CHECK, format!("refused: {error}"), "see permissions");
        }
    };
    let what = format!(
        "PING {} (worst {}), a script {} (worst {}), of {LATENCY_TIMES} each",
        millis(ping.median),
        millis(ping.worst),
        millis(script.median),
        millis(script.worst)
    );
    if script.median > LATENCY_MEDIAN_MAX {
        let remedy = "have the servers near Redis, and look at its SLOWLOG";
        return Finding::note(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

struct Times {
    median: Duration,
    worst: Duration,
}

async fn measured(patient: &mut Patient, cmd: &Cmd) -> RedisResult<Times> {
    let mut times = Vec::with_capacity(LATENCY_TIMES);
    for _ in 0..LATENCY_TIMES {
        let begun = Instant::now();
        patient.ask::<Value>(cmd).await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(Times { median: times[LATENCY_TIMES / 2], worst: times[LATENCY_TIMES - 1] })
}

async fn clocks(patient: &mut Patient) -> Finding {
    const CHECK: &str = "clock";
    let begun = Instant::now();
    let here = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let there = patient.ask::<(u64, u64)>(&redis::cmd("TIME")).await;
    let took = begun.elapsed();
    let there = match there {
        Ok((seconds, micros)) => Duration::from_secs(seconds) + Duration::from_micros(micros),
        Err(error) => {
            return Finding::problem(CHECK, format!("refused: {error}"), "see permissions");
        }
    };
    let apart = there.abs_diff(here + took / 2);
    let what = format!("{} apart from this machine's", millis(apart));
    if apart > SKEW_MAX {
        let remedy = "set both clocks by NTP: times of events and of those who are lost differ";
        return Finding::note(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}
