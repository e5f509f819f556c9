//! That the cluster of this folder runs, and shows what its walk-through says.

use std::process::Command;

use nuthatch_testkit::find_program;

/// Plays all of it where there are an etcd and a nuthatchd.
#[track_caller]
fn plays(args: &[&str]) {
    let program = env!("CARGO_BIN_EXE_cluster");
    if find_program("etcd").is_none() {
        return eprintln!("skipped: there is no etcd");
    }
    if !std::path::Path::new(program).with_file_name("nuthatchd").exists() {
        return eprintln!("skipped: nuthatchd has not been built");
    }
    let output = Command::new(program).arg("--start").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for what in ["-- kill -9", "is left out", "has left", "has joined", "-- that is all"] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn nodes_that_are_asked_tell_who_they_are() {
    plays(&[]);
}

#[test]
fn etcd_tells_who_they_are() {
    plays(&["--etcd"]);
}
