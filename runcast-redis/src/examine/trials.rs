//! What is tried: every command that a node sends, a message there and back, how long answers take, and how
//! far the clocks are apart.

use std::time::{Duration, Instant, SystemTime};

use redis::{Cmd, PushKind, RedisError, RedisResult, Value};
use tokio::time::timeout;

use super::{Finding, Patient};
use crate::fit;

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

pub(super) async fn findings(patient: &mut Patient) -> Vec<Finding> {
    vec![
        permissions(patient).await,
        messages(patient).await,
        latency(patient).await,
        clocks(patient).await,
    ]
}

/// Commands that a node sends beside those that its scripts do.
const COMMANDS: [&[&str]; 5] = [
    &["INFO", "server"],
    &["WAIT", "0", "0"],
    &["CLIENT", "SETNAME", "runcast:doctor"],
    &["SCRIPT", "LOAD", "return {}"],
    &["EVALSHA", NO_SCRIPT, "0"],
];

async fn permissions(patient: &mut Patient) -> Finding {
    const CHECK: &str = "permissions";
    let Patient { connection, common, word, .. } = patient;
    let denied = fit::denied(connection, &common.scripts, &common.keys, *word).await;
    let mut denied = denied.unwrap_or_else(|error| vec![format!("EVAL ({})", said(&error))]);
    for words in COMMANDS {
        let mut cmd = redis::cmd(words[0]);
        cmd.arg(&words[1..]);
        if let Err(error) = patient.ask::<Value>(&cmd).await
            && error.code() != Some("NOSCRIPT")
        {
            denied.push(format!("{} ({})", words[0], said(&error)));
        }
    }
    if denied.is_empty() {
        return Finding::ok(CHECK, "all that is used was tried");
    }
    let prefix = patient.common.keys.prefix();
    let remedy = format!(
        "allow the user what it lacks: ACL SETUSER <user> ~{prefix}:* &{prefix}@* +@read +@write \
         +@pubsub +@scripting +@connection -@dangerous +time +wait +info +cluster|slots"
    );
    Finding::problem(CHECK, format!("refused: {}", denied.join("; ")), remedy)
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
    let channel = patient.common.keys.channel_of("doctor");
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
            let prefix = patient.common.keys.prefix();
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

async fn latency(patient: &mut Patient) -> Finding {
    const CHECK: &str = "latency";
    let ping = redis::cmd("PING");
    let mut script = redis::cmd("EVAL");
    script.arg("return redis.call('HGETALL', KEYS[1])").arg(1).arg(patient.own_key("latency"));
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
