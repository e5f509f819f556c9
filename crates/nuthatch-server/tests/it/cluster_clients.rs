//! Cluster clients that others wrote, unchanged, following real nodes that find one another in etcd.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use nuthatch_testkit::{Daemon, Etcd};

use crate::{
    guests::{Guest, NOT_INSTALLED, guest},
    support::{Client, eventually, signal, skip, start},
};

/// A client at work, killed when dropped.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(guest: Guest, daemon: &Daemon) -> Option<Self> {
        let mut command = guest.command()?;
        guest.add_env(&mut command);
        command.env("GUEST_PORT", daemon.port().unwrap().to_string());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (told, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        Some(Self { child, lines })
    }

    /// Waits until it uses these nodes; false if it is not installed.
    #[track_caller]
    fn uses(&mut self, daemons: &[&Daemon]) -> bool {
        let mut ports: Vec<_> = daemons.iter().map(|daemon| daemon.port().unwrap()).collect();
        ports.sort_unstable();
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let expected = format!("nodes {}", ports.join(" "));
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line == expected => return true,
                Ok(line) => said.push(line),
                Err(error) => {
                    // It says nothing more, or has said nothing for long.
                    let _ = self.child.kill();
                    let ended = self.child.wait().unwrap().code();
                    if ended == Some(NOT_INSTALLED) {
                        return false;
                    }
                    panic!("{expected:?} is not said ({error}, {ended:?}): {said:?}");
                }
            }
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until all know of all: some clients give up where they find no list at first.
#[track_caller]
fn await_members(daemons: &[&Daemon]) {
    let n_members = daemons.len().to_string();
    eventually("all know of all", || {
        let n_known = |daemon| Client::of(daemon).stat("stats cluster", "members");
        daemons.iter().all(|daemon| n_known(daemon) == n_members)
    });
}

/// Three nodes; one ends, one dies, one comes.
#[track_caller]
fn follows(guest: Guest) {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("there is no etcd") };
    let words = format!("discovery_source=etcd://127.0.0.1:{}/test,discovery_ttl=2", etcd.port());
    let node = || start(["-o", &words]);
    let (a, b, c) = (node(), node(), node());
    await_members(&[&a, &b, &c]);
    let Some(mut follower) = Follower::start(guest, &a) else {
        return skip("nothing here runs the client");
    };
    if !follower.uses(&[&a, &b, &c]) {
        return skip("the client is not installed");
    }
    signal(c.pid(), Signal::SIGTERM);
    follower.uses(&[&a, &b]);
    let d = node();
    follower.uses(&[&a, &b, &d]);
    signal(b.pid(), Signal::SIGKILL);
    follower.uses(&[&a, &d]);
}

#[test]
fn emcache_follows() {
    follows(guest("follow_emcache.py"));
}

#[test]
fn memcache_of_npm_follows() {
    follows(guest("follow_memcache.js"));
}

#[test]
fn memcache_of_npm_follows_by_the_key_of_old_clients() {
    follows(guest("follow_memcache.js").with("GUEST_LEGACY", "yes"));
}

#[test]
fn memcached_elasticache_follows() {
    follows(guest("follow_memcached_elasticache.js"));
}

#[test]
fn pymemcache_follows() {
    follows(guest("follow_pymemcache.py"));
}

#[test]
fn dalli_elasticache_follows() {
    follows(guest("follow_dalli.rb").of_system());
}

#[test]
fn memcache_plus_finds_the_nodes() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("there is no etcd") };
    let words = format!("discovery_source=etcd://127.0.0.1:{}/test", etcd.port());
    let (a, b) = (start(["-o", &words]), start(["-o", &words]));
    await_members(&[&a, &b]);
    let Some(mut follower) = Follower::start(guest("follow_memcache_plus.js"), &a) else {
        return skip("nothing here runs the client");
    };
    if !follower.uses(&[&a, &b]) {
        skip("the client is not installed");
    }
}
