//! What the command line and a file together tell a server.

use runcast_server::RetentionClass;

use super::*;

/// A server that is told nothing.
pub(super) fn config() -> Configured {
    Args::default().config().unwrap().0
}

fn with_file(text: &str, args: Args) -> anyhow::Result<(Configured, String)> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("runcast.toml");
    std::fs::write(&file, text).unwrap();
    Args { config: Some(file), ..args }.config()
}

/// What is said behind the file's name.
fn error_of(text: &str) -> String {
    let error = format!("{:#}", with_file(text, Args::default()).unwrap_err());
    let (before, error) = error.split_once("runcast.toml: ").unwrap();
    assert!(before.starts_with("the configuration file /"), "{before}");
    error.to_owned()
}

#[test]
fn a_file_says_what_the_command_line_does_not() {
    let text = r#"
        listen = "127.0.0.1:9000"
        durability = "relaxed"
        sync_every_ms = 20
        allow_host = ["runcast.example"]
        allow_origin = ["https://example.com"]
        log = "info"
        stalled_s = 7
        drain_s = 1.5
    "#;
    let args = Args {
        listen: Some("127.0.0.1:9001".parse().unwrap()),
        set: vec![("stalled_s".to_owned(), 8.0)],
        ..Args::default()
    };
    let (config, log) = with_file(text, args).unwrap();
    assert_eq!(config.http.listen.port(), 9001);
    assert_eq!(config.http.limits.write_stall_timeout, Duration::from_secs(8));
    assert_eq!(config.http.drain, Duration::from_millis(1_500));
    assert_eq!(config.http.allowed_hosts, ["runcast.example"]);
    assert_eq!(config.http.allowed_origins[0].to_string(), "https://example.com");
    let sync_every = Duration::from_millis(20);
    assert_eq!(config.log.durability, Durability::Relaxed { sync_every });
    assert_eq!(log, "info");
}

#[test]
fn a_wrong_file_is_refused_by_line_or_name() {
    assert_eq!(
        error_of("listen = 7070"),
        "line 1: invalid type: integer `7070`, expected socket address"
    );
    assert!(error_of("\n\nstalled_s = ").contains("line 3: "), "{}", error_of("\n\nstalled_s = "));
    assert_eq!(error_of("stalled_s = \"7\""), "stalled_s must be a number, not string");
    let hint = "there is no setting \"stale_s\"; did you mean \"stalled_s\"?";
    assert_eq!(error_of("stale_s = 7"), hint);
    assert!(error_of("allow_origin = [\"nowhere\"]").starts_with("allow_origin: "));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let args = Args { config: Some("no/such.toml".into()), ..Args::default() };
    let error = format!("{:#}", args.config().unwrap_err());
    assert!(error.starts_with("the configuration file no/such.toml: "), "{error}");
}

#[test]
fn the_documented_retention_is_taken() {
    let documentation = include_str!("../../../docs/configuration.md");
    let (_, section) = documentation.split_once("## Retention").unwrap();
    let (_, block) = section.split_once("```toml\n").unwrap();
    let (config, _) = with_file(block.split_once("```").unwrap().0, Args::default()).unwrap();
    let class = RetentionClass::default;
    let classes = vec![
        RetentionClass {
            workflow: Some("nightly".to_owned()),
            tag: Some("keep".to_owned()),
            ..class()
        },
        RetentionClass {
            ended: Some(true),
            keep_ended_s: Some(7 * 24 * 60 * 60),
            keep_runs: Some(10_000),
            ..class()
        },
        RetentionClass { events_max: Some(100_000), ..class() },
    ];
    assert_eq!(config.http.retention, RetentionPolicy::new(classes).unwrap());
    assert_eq!(super::tests::config().http.retention, RetentionPolicy::default());
}

#[test]
fn retention_that_cannot_be_meant_is_refused_with_what_would_be_right() {
    let error = error_of("[[retention]]\nkeep_ended = 7");
    assert!(
        error.contains("unknown field `keep_ended`") && error.contains("`keep_ended_s`"),
        "{error}"
    );
    let error = error_of("[[retention]]\n[[retention]]\nevents_max = 0");
    assert!(error.starts_with("retention: class 2: events_max must be from 1 to "), "{error}");
    let error = error_of("[[retention]]\nstatus = [\"done\"]");
    assert!(error.contains("unknown variant `done`"), "{error}");
}

#[test]
fn events_are_kept_in_redis_if_it_is_said_and_nowhere_else() {
    let url = "redis://:secret@127.0.0.1:6380/2".to_owned();
    let args = Args { redis: Some(url.clone()), redis_wait: Some(1), ..Args::default() };
    let config = args.config().unwrap().0.into_server();
    let Store::Redis(redis) = config.store else { panic!("it is in a directory") };
    assert_eq!((redis.url, redis.wait_replicas), (url, 1));
    let (config, _) = with_file("redis = \"redis://a:1\"", Args::default()).unwrap();
    let is_at_a =
        |store| matches!(store, Store::Redis(RedisOptions { url, .. }) if url == "redis://a:1");
    assert!(is_at_a(config.into_server().store));
    let args = Args { data: Some("somewhere".into()), ..Args::default() };
    let store = args.config().unwrap().0.into_server().store;
    assert!(matches!(store, Store::Directory { .. }));
}
