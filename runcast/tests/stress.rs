//! A short stress run against the real binary, as long as it takes until that was killed at least
//! once; `make stress` is a long one.

#![allow(clippy::unwrap_used, reason = "tests")]

use runcast_bench::stress::{Settings, Tried, run};

#[test]
fn readers_of_all_kinds_see_everything_once_and_in_order_through_kills() {
    let tried = tried(false);
    assert!(tried.kills > 0 && tried.merged > 0 && tried.deliveries > tried.events, "{tried}");
    assert!(tried.sealed_bytes > 0, "{tried}");
}

#[test]
fn readers_that_go_from_server_to_server_see_everything_once_and_in_order_through_kills() {
    let tried = tried(true);
    assert!(tried.kills > 0 && tried.merged > 0 && tried.deliveries > tried.events, "{tried}");
}

fn tried(redis: bool) -> Tried {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        seconds: 10,
        kills: 1,
        set: Vec::new(),
        seed: None,
        over: Vec::new(),
        redis,
        server: Some(env!("CARGO_BIN_EXE_runcast").into()),
        data: Some(directory.path().to_owned()),
    };
    run(&settings).unwrap_or_else(|error| panic!("{error:?}"))
}
