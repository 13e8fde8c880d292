//! The generator measures the floor at a small size, and both agree: nothing is lost.

#![allow(clippy::unwrap_used, reason = "the helper of these tests is a test too")]
use std::process::Command;

fn measure(arguments: &[&str]) -> (bool, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("bench.json");
    let output = Command::new(env!("CARGO_BIN_EXE_runcast-bench"))
        .args(["--smoke", "--only", "floor", "--json"])
        .arg(&json)
        .arg("--data")
        .arg(directory.path())
        .args(arguments)
        .output()
        .unwrap();
    let text = std::fs::read(&json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.success(), serde_json::from_slice(&text).unwrap())
}

#[test]
fn every_row_loses_doubles_and_reorders_nothing() {
    let (success, report) = measure(&[]);
    assert!(success, "{report:#}");
    assert_eq!(report["sound"], true);
    for row in report["rows"].as_array().unwrap() {
        for fault in ["lost", "doubled", "disordered", "refused"] {
            assert_eq!(row["faults"][fault], 0, "{fault} in {row:#}");
        }
    }
}

#[test]
fn a_row_is_measured_alone_as_often_as_asked() {
    let (success, report) = measure(&["fan-out", "--runs", "2"]);
    assert!(success, "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["row"], "fan-out");
    assert_eq!(rows[0]["floor"].as_array().unwrap().len(), 2);
    assert!(rows[0]["lines"][0]["floor"].as_f64().unwrap() > 0.0);
    assert!(rows[0]["floor"][0]["latency_ms"]["count"].as_u64().unwrap() > 0);
}

#[test]
fn an_unknown_row_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_runcast-bench")).arg("fan-in").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no row \"fan-in\""));
}

#[test]
fn a_server_that_is_missing_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_runcast-bench"))
        .args(["--smoke", "--server", "/nowhere/runcast"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no server at /nowhere"));
}
