//! Has the crate built again when the web UI was: a release build has the UI inside.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A debug build reads the UI's files when it is asked for them.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rerun-if-changed=../ui/dist");
    }
}
