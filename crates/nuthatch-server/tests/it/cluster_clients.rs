//! Cluster clients that others wrote, unchanged, following real nodes that find one another in etcd.
//!
//! How long each takes is printed (`--nocapture`), and is in `docs/auto-discovery.md`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;
use nuthatch_testkit::{Daemon, Etcd};
use tokio::time::Instant;

use crate::{
    guests::{Guest, NOT_INSTALLED, guest},
    support::{Client, eventually, signal, skip, start},
    tls::{Identity, figure},
};

/// Where nodes are started that find one another in an etcd of their own, and speak TLS if it has a
/// certificate.
struct Cluster {
    etcd: Etcd,
    identity: Option<Identity>,
}

impl Cluster {
    fn new(identity: Option<Identity>) -> Option<Self> {
        let etcd = Etcd::start().unwrap();
        if etcd.is_none() {
            skip("there is no etcd");
        }
        Some(Self { etcd: etcd?, identity })
    }

    fn node(&self) -> Daemon {
        let port = self.etcd.port();
        let words = format!("discovery_source=etcd://127.0.0.1:{port}/test,discovery_ttl=2");
        let args = ["-o", &words];
        match &self.identity {
            Some(identity) => identity.start(&args),
            None => start(args),
        }
    }

    /// How many it knows of.
    fn n_members(&self, daemon: &Daemon) -> String {
        let Some(identity) = &self.identity else {
            return Client::of(daemon).stat("stats cluster", "members");
        };
        let stats = identity.text(daemon.port().unwrap(), "stats cluster\r\nquit\r\n");
        figure(&stats, "members").unwrap_or_default()
    }

    /// Waits until all know of all: some clients give up where they find no list at first.
    #[track_caller]
    fn await_members(&self, daemons: &[&Daemon]) {
        let n_members = daemons.len().to_string();
        eventually("all know of all", || {
            daemons.iter().all(|daemon| self.n_members(daemon) == n_members)
        });
    }

    /// A client that is given one node; `None` where nothing runs it.
    fn follower(&self, guest: Guest, daemon: &Daemon) -> Option<Follower> {
        let guest = match &self.identity {
            Some(identity) => guest.tls(&identity.path("cert.pem")),
            None => guest,
        };
        let follower = Follower::start(&guest, daemon);
        if follower.is_none() {
            skip("nothing here runs the client");
        }
        follower
    }
}

/// How long a client may take, starting included. That of Java misses now and then that its list has
/// been applied, and waits fifty seconds for it.
const PATIENCE: Duration = Duration::from_secs(75);

/// A client at work, killed when dropped.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(guest: &Guest, daemon: &Daemon) -> Option<Self> {
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

    /// Waits until it uses these nodes, and says how long that took; `None` if it is not installed.
    #[track_caller]
    fn uses(&mut self, daemons: &[&Daemon]) -> Option<Duration> {
        let mut ports: Vec<_> = daemons.iter().map(|daemon| daemon.port().unwrap()).collect();
        ports.sort_unstable();
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let expected = format!("nodes {}", ports.join(" "));
        let begun = Instant::now();
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line == expected => return Some(begun.elapsed()),
                Ok(line) => said.push(line),
                Err(error) => {
                    // It says nothing more, or has said nothing for long.
                    let _ = self.child.kill();
                    let ended = self.child.wait().unwrap().code();
                    if ended == Some(NOT_INSTALLED) {
                        skip("the client is not installed");
                        return None;
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

/// Three nodes; one ends, one comes, one dies.
#[track_caller]
fn follows_in(identity: Option<Identity>, guest: Guest) {
    let Some(cluster) = Cluster::new(identity) else { return };
    let mut three = [(); 3].map(|()| cluster.node());
    // That of Java asks always the first of those that have the same address: that one is to live.
    three.sort_by_key(Daemon::port);
    let [a, b, c] = three;
    cluster.await_members(&[&a, &b, &c]);
    let name = guest.to_string();
    let Some(mut follower) = cluster.follower(guest, &a) else { return };
    let Some(found) = follower.uses(&[&a, &b, &c]) else { return };
    signal(c.pid(), Signal::SIGTERM);
    let ended = follower.uses(&[&a, &b]).unwrap();
    let d = cluster.node();
    let came = follower.uses(&[&a, &b, &d]).unwrap();
    signal(b.pid(), Signal::SIGKILL);
    let died = follower.uses(&[&a, &d]).unwrap();
    eprintln!("{name}: {found:.1?} to begin, {ended:.1?} ended, {came:.1?} came, {died:.1?} died");
}

#[track_caller]
fn follows(guest: Guest) {
    follows_in(None, guest);
}

#[track_caller]
fn follows_over_tls(guest: Guest) {
    follows_in(Some(Identity::new()), guest);
}

#[test]
fn emcache_follows() {
    follows(guest("follow_emcache.py"));
    follows_over_tls(guest("follow_emcache.py"));
}

/// Those of npm know no TLS.
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
fn elasticache_client_of_npm_follows() {
    follows(guest("follow_elasticache_client.js"));
}

#[test]
fn pymemcache_follows() {
    let guest = || guest("follow_pymemcache.py").modules("checkouts/pymemcache");
    follows(guest());
    follows_over_tls(guest());
}

#[test]
fn django_elastipymemcache_follows() {
    let guest =
        || guest("follow_django_elastipymemcache.py").modules("python/django-elastipymemcache");
    follows(guest());
    follows_over_tls(guest());
}

/// Over pylibmc, which knows no TLS.
#[test]
fn django_elasticache_follows() {
    follows(guest("follow_django_elasticache.py").modules("python/django-elasticache"));
}

/// Over python-memcached, which knows no TLS.
#[test]
fn elasticache_pyclient_follows() {
    follows(guest("follow_elasticache_pyclient.py").modules("python/elasticache_pyclient"));
}

/// Its pymemcache is of before TLS.
#[test]
fn pyelasticache_client_follows() {
    follows(guest("follow_pyelasticache_client.py").modules("python/pyelasticache_client"));
}

/// It asks over plain TCP only.
#[test]
fn elasticache_auto_discovery_follows() {
    let script = "follow_elasticache_auto_discovery.py";
    follows(guest(script).modules("python/elasticache-auto-discovery"));
}

#[test]
fn dalli_elasticache_follows() {
    let guest = || guest("follow_dalli.rb").of_system().modules("checkouts/dalli-elasticache/lib");
    follows(guest());
    follows_over_tls(guest());
}

#[test]
fn spymemcached_of_that_service_follows() {
    follows(guest("FollowSpymemcached.java"));
    follows_over_tls(guest("FollowSpymemcached.java").binary());
}

#[test]
fn php_client_of_that_service_follows() {
    follows(guest("follow_elasticache.php"));
    follows(guest("follow_elasticache.php").binary());
    follows_over_tls(guest("follow_elasticache.php"));
    follows_over_tls(guest("follow_elasticache.php").binary());
}

/// These ask once. One of them takes every line for the version that begins with a digit, so a node
/// without a name, of which there is only an address, is none to it: here they have names.
#[test]
fn memcache_plus_and_memcache_pp_find_the_nodes() {
    let (a, b) = (start(["-o", "discovery"]), start(["-o", "discovery"]));
    let nodes = [&a, &b].map(|daemon| format!("localhost|127.0.0.1|{}", daemon.port().unwrap()));
    let list = format!("1\n{}\n", nodes.join(" "));
    let said = format!("config set cluster 0 {}\r\n{list}", list.len());
    assert_eq!(Client::of(&a).ask(&said), "STORED");
    for package in ["memcache-plus", "memcache-pp"] {
        let guest = guest("follow_memcache_plus.js").with("GUEST_PACKAGE", package);
        let Some(mut follower) = Follower::start(&guest, &a) else {
            return skip("nothing here runs the client");
        };
        let found = follower.uses(&[&a, &b]);
        eprintln!("{guest}: {found:.1?} to begin");
    }
}
