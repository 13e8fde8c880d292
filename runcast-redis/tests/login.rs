//! A Redis that asks who comes: TLS, users, passwords, rights.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use runcast_contract::redis_server::Cluster;
use runcast_contract::{batch, events, feed, run};
use runcast_event::Offset;
use runcast_hub::Delivery;
use runcast_log::{Log, Trim};
use runcast_redis::{OpenError, RedisLog, RedisOptions};
use support::witness::hub_with;
use support::{Server, node_at, options_at};

/// What docs/redis.md says that a user needs.
const RIGHTS: &str = "~rc:* &rc@* +@read +@write +@pubsub +@scripting +@connection -@dangerous +time +wait \
                      +info +cluster|slots";

/// A server with a user who has these rights.
fn server_for(rights: &str) -> Server {
    let server = Server::start();
    let mut words = vec!["ACL", "SETUSER", "me", "reset", "on", ">p@ss"];
    words.extend(rights.split_whitespace());
    assert_eq!(server.command(&words).trim(), "OK");
    server
}

fn url(server: &Server, login: &str) -> String {
    format!("redis://{login}@127.0.0.1:{}", server.port)
}

async fn refused(options: RedisOptions) -> OpenError {
    match RedisLog::open(options, Arc::new(())).await {
        Err(error) => error,
        Ok(_) => panic!("it is let in"),
    }
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough() {
    let server = server_for(RIGHTS);
    assert!(include_str!("../../docs/redis.md").contains(RIGHTS));
    let url = url(&server, "me:p%40ss");
    let (hub, log) = hub_with(options_at(&url)).await;
    let (other, _) = node_at(&url).await;
    let mut follower = hub.follow(&run("a"), "0".parse().unwrap()).await.unwrap();
    other.append(batch("a", &["life 1", "2"])).await.unwrap();
    assert!(matches!(follower.next().await, Delivery::Events(_)));
    assert_eq!(events(&*log, "a").await.unwrap(), ["life 1", "2"]);
    assert_eq!(feed(&*log).await, ["a begins 1.1"]);
    assert_eq!(log.first_within(&run("a"), 1).await.unwrap(), Offset::new(2));
    log.sign(&[run("a")]).await.unwrap();
    assert!(log.signed(&run("a")).await.unwrap().is_some());
    assert!(log.trim(&run("a"), Trim::before(Offset::new(2))).await.unwrap());
    assert_eq!(log.list(None, 10).await.unwrap().len(), 1);
    assert!(log.delete(&run("a")).await.unwrap());
    assert_eq!(server.command(&["ACL", "LOG"]).trim(), "", "nothing was denied");
}

#[tokio::test]
async fn they_are_enough_in_a_cluster_too() {
    let cluster = Cluster::start_bare();
    let mut words = vec!["ACL", "SETUSER", "me", "reset", "on", ">p@ss"];
    words.extend(RIGHTS.split_whitespace());
    for server in &cluster.servers {
        assert_eq!(server.command(&words).trim(), "OK");
    }
    let (hub, log) = hub_with(options_at(&url(&cluster.servers[0], "me:p%40ss"))).await;
    for name in ["a", "b", "c", "d"] {
        let mut follower = hub.follow(&run(name), "0".parse().unwrap()).await.unwrap();
        log.append(batch(name, &["1"])).await.unwrap();
        assert!(matches!(follower.next().await, Delivery::Events(_)));
    }
    for server in &cluster.servers {
        assert_eq!(server.command(&["ACL", "LOG"]).trim(), "", "nothing was denied");
    }
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_at_the_start_with_those_that_are_needed() {
    for (missing, named) in [
        ("-xadd", "XADD"),
        ("-spublish -publish", "PUBLISH"),
        ("-eval", "eval"),
        ("-info", "info"),
        ("-subscribe", "subscribe"),
        ("resetchannels", "channel"),
        ("resetkeys ~other:*", "keys"),
    ] {
        let server = server_for(&format!("{RIGHTS} {missing}"));
        let error = refused(options_at(&url(&server, "me:p%40ss"))).await;
        assert!(matches!(error, OpenError::Denies { .. }), "{missing}: {error:?}");
        let error = error.to_string();
        assert!(error.contains(named) && error.contains(RIGHTS), "{missing}: {error}");
        assert!(!error.contains('\n') && !error.contains("p@ss"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_none_at_all_are_said_to_be_that() {
    let server = Server::start_as(&["--requirepass", "secret"], &["-a", "secret"]);
    for login in ["me:wrong", ":wrong", ""] {
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        let error = refused(options_at(&format!("redis://{login}127.0.0.1:{}", server.port))).await;
        assert!(matches!(error, OpenError::Login { .. }), "{error:?}");
        let error = error.to_string();
        assert!(error.contains("REDIS_PASSWORD") && !error.contains("wrong@"), "{error}");
    }
    let (log, _) = node_at(&url(&server, ":secret")).await;
    log.append(batch("a", &["1"])).await.unwrap();
}

/// Has openssl make a certificate: one that signs itself, or one for 127.0.0.1 that another signs.
fn certificate(directory: &Path, name: &str, signer: Option<&str>) {
    let file =
        |name: &str, kind: &str| directory.join(format!("{name}.{kind}")).display().to_string();
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command.args(["-days", "1", "-subj", &format!("/CN={name}")]);
    command.args(["-keyout", &file(name, "key"), "-out", &file(name, "pem")]);
    if let Some(signer) = signer {
        command.args(["-CA", &file(signer, "pem"), "-CAkey", &file(signer, "key")]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    }
    let made = command.output().expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn a_redis_is_talked_to_by_tls_if_its_certificate_is_signed_by_who_may() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path(), "ca", None);
    certificate(directory.path(), "other", None);
    certificate(directory.path(), "server", Some("ca"));
    let file = |name: &str| directory.path().join(name).display().to_string();
    let [certificate, key, ca] = ["server.pem", "server.key", "ca.pem"].map(file);
    let settings =
        ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let settings = [&settings[..], &["--tls-auth-clients", "no"]].concat();
    let server = Server::start_as(&settings, &["--tls", "--cacert", &ca]);
    let options = |ca: Option<&str>| RedisOptions {
        ca_file: ca.map(|name| directory.path().join(name)),
        ..options_at(&format!("rediss://127.0.0.1:{}", server.port))
    };
    let (hub, log) = hub_with(options(Some("ca.pem"))).await;
    let mut follower = hub.follow(&run("a"), "0".parse().unwrap()).await.unwrap();
    log.append(batch("a", &["1"])).await.unwrap();
    assert!(matches!(follower.next().await, Delivery::Events(_)));
    for wrong in [Some("other.pem"), None] {
        let error = refused(options(wrong)).await;
        assert!(matches!(error, OpenError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().contains("redis_ca_file"), "{error}");
    }
    let plain = refused(options_at(&format!("redis://127.0.0.1:{}", server.port))).await;
    assert!(matches!(plain, OpenError::Unusable { .. }), "{plain:?}");
}
