//! `-o drop_privileges`: everything is served, and nothing else is possible.

use std::{fs, os::unix::process::ExitStatusExt};

use nix::sys::signal::Signal;
use nuthatch_server::process::privileges::IS_SUPPORTED;

use crate::support::{Client, eventually, run, signal, skip, start};

/// What each thread of a process has for a line of its status.
fn of_threads(pid: u32, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        })
        .collect()
}

#[test]
fn all_threads_are_filtered_and_everything_is_served() {
    if !IS_SUPPORTED {
        return skip("there is no filter for this system");
    }
    let folder = tempfile::tempdir().unwrap();
    let [users, pidfile] = ["users", "pid"].map(|name| folder.path().join(name));
    fs::write(&users, "me:word\n").unwrap();
    let args = ["-Y", users.to_str().unwrap(), "-P", pidfile.to_str().unwrap()];
    let mut daemon = start([&args[..], &["-t", "3", "-o", "drop_privileges", "-vv"]].concat());
    // The filter comes after the sockets are open.
    let is_everywhere = || {
        let modes = of_threads(daemon.pid(), "Seccomp:");
        modes.len() >= 4 && modes.iter().all(|mode| mode == "2")
    };
    eventually("every thread is filtered", is_everywhere);
    assert!(of_threads(daemon.pid(), "NoNewPrivs:").iter().all(|mode| mode == "1"));

    for _ in 0..6 {
        let mut client = Client::of(&daemon);
        assert_eq!(client.set("any", b"me word"), "STORED");
        let value = vec![b'x'; 700_000];
        assert_eq!(client.set("big", &value), "STORED");
        assert_eq!(client.get("big"), Some(value));
        assert_eq!(client.ask("lru_crawler metadump all"), "OK");
        while !matches!(client.line().as_str(), "" | "END") {}
        assert_eq!(client.ask("cache_memlimit 100"), "OK");
        client.lines("stats");
    }
    fs::write(&users, "me:other\n").unwrap();
    signal(daemon.pid(), Signal::SIGHUP);
    eventually("the new password is good", || {
        Client::of(&daemon).set("any", b"me other") == "STORED"
    });
    signal(daemon.pid(), Signal::SIGTERM);
    let status = daemon.wait().unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", daemon.stderr());
    assert!(!pidfile.exists(), "it may still remove its own file");
}

#[test]
fn memory_may_be_given_back_locked_or_not() {
    if !IS_SUPPORTED {
        return skip("there is no filter for this system");
    }
    for locked in [&[][..], &["-k"]] {
        let daemon = start([&["-t", "1", "-o", "drop_privileges"], locked].concat());
        let mut client = Client::of(&daemon);
        for n in 0..40 {
            assert_eq!(client.set(&format!("key{n}"), &vec![b'x'; 500_000]), "STORED");
        }
        assert_eq!(client.ask("cache_memlimit 8"), "OK");
        eventually("pages are given back", || {
            let bytes: u64 = client.stat("stats slabs", "total_malloced").parse().unwrap();
            bytes <= 8 << 20
        });
        assert!(of_threads(daemon.pid(), "Seccomp:").iter().all(|mode| mode == "2"));
    }
}

#[test]
fn a_daemon_is_filtered_when_its_first_process_ends() {
    if !IS_SUPPORTED {
        return skip("there is no filter for this system");
    }
    let folder = tempfile::tempdir().unwrap();
    let pidfile = folder.path().join("pid");
    let output = run(&["-d", "-p", "-1", "-o", "drop_privileges", "-P", pidfile.to_str().unwrap()]);
    assert!(output.status.success());
    let pid = fs::read_to_string(&pidfile).unwrap().trim_end().parse().unwrap();
    let modes = of_threads(pid, "Seccomp:");
    signal(pid, Signal::SIGTERM);
    assert!(modes.iter().all(|mode| mode == "2"), "{modes:?}");
    eventually("the pid file is removed", || !pidfile.exists());
}

#[test]
fn misbehaving_ends_the_process() {
    let args = ["-o", "relaxed_privileges"];
    let daemon = start(args);
    assert_eq!(Client::of(&daemon).ask("misbehave"), "ERROR", "both were possible");
    drop(daemon);
    assert_eq!(Client::of(&start([""; 0])).ask("misbehave"), "ERROR", "there is no such command");
    if !IS_SUPPORTED {
        return skip("there is no filter for this system");
    }
    let mut daemon = start([&args[..], &["-o", "drop_privileges"]].concat());
    let filtered = || of_threads(daemon.pid(), "Seccomp:").iter().all(|mode| mode == "2");
    eventually("every thread is filtered", filtered);
    let mut client = Client::of(&daemon);
    client.send("misbehave\r\n");
    let status = daemon.wait().unwrap().expect("it ends");
    assert_eq!(status.signal(), Some(Signal::SIGSYS as i32), "{status}");
}

#[test]
fn help_says_that_there_is_a_filter() {
    let help = String::from_utf8(run(&["-h"]).stdout).unwrap();
    assert_eq!(help.contains("no_drop_privileges"), IS_SUPPORTED);
    let daemon = start(["-o", "drop_privileges,no_drop_privileges"]);
    assert_eq!(Client::of(&daemon).ask("mn"), "MN");
    assert!(of_threads(daemon.pid(), "Seccomp:").iter().all(|mode| mode == "0"));
}
