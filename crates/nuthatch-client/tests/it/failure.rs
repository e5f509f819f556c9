//! Nodes that are killed, come back, and are stopped, while calls are under way: no wrong answer,
//! no call that does not end, and errors only for the keys of the node that is gone.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, Ejection, OnFailure, Protocol};
use nuthatch_testkit::Daemon;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::LONG;
use crate::cluster::{address, list};
use crate::dialects::servers;

/// What tasks see that ask for all kinds of keys.
#[derive(Default)]
struct Seen {
    /// To the keys of the node that is gone, and to others.
    n_ok: [AtomicU64; 2],
    n_errors: [AtomicU64; 2],
    longest_ms: AtomicU64,
    is_over: AtomicBool,
}

impl Seen {
    fn count(of: &[AtomicU64; 2]) -> [u64; 2] {
        [of[0].load(Ordering::Relaxed), of[1].load(Ordering::Relaxed)]
    }

    fn print(&self, what: &str) {
        eprintln!(
            "{what}: answers {:?}, errors {:?} (node's keys, others'), longest call {} ms",
            Self::count(&self.n_ok),
            Self::count(&self.n_errors),
            self.longest_ms.load(Ordering::Relaxed)
        );
    }
}

struct Load {
    seen: Arc<Seen>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sixteen tasks; the keys of `node` are counted apart.
    fn start(client: &Client, node: &str) -> Self {
        let seen = Arc::new(Seen::default());
        let task = |task: u64| {
            let (client, seen, node) = (client.clone(), Arc::clone(&seen), node.to_owned());
            tokio::spawn(async move {
                let mut n = task;
                while !seen.is_over.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let key = format!("key:{}", (n >> 33) % 1000);
                    let is_other = usize::from(*client.route(&key)[0] != *node);
                    let begun = Instant::now();
                    let result = if n.is_multiple_of(4) {
                        client.set(&key, key.clone(), Ttl::NEVER).await.map(|_| None)
                    } else {
                        client.get(&key).await
                    };
                    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap();
                    seen.longest_ms.fetch_max(ms, Ordering::Relaxed);
                    match result {
                        Ok(item) => {
                            if let Some(item) = item {
                                assert_eq!(item.value, key, "an answer is its caller's own");
                            }
                            seen.n_ok[is_other].fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            assert!(
                                error.is_closed() || error.is_connect() || error.is_timeout(),
                                "{error}"
                            );
                            seen.n_errors[is_other].fetch_add(1, Ordering::Relaxed);
                            // As one who has something else to do then.
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
            })
        };
        Self { tasks: (1..=16).map(task).collect(), seen }
    }

    /// Waits until so many more calls for the keys of the node, or of others, were answered.
    async fn answers(&self, is_other: bool, more: u64) {
        let of = &self.seen.n_ok[usize::from(is_other)];
        let from = of.load(Ordering::Relaxed);
        let reached = async {
            while of.load(Ordering::Relaxed) < from + more {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, reached).await.expect("calls are answered");
    }

    async fn end(self) -> Arc<Seen> {
        self.seen.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(LONG, task).await.expect("every call ends").unwrap();
        }
        self.seen
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.unwrap_or_else(|_| panic!("in time: {what}"));
}

fn is_ejected(client: &Client, node: &str) -> bool {
    client.status().nodes.iter().any(|own| *own.name == *node && own.is_ejected)
}

fn ejection() -> Ejection {
    let mut ejection = Ejection::default();
    ejection.pause_max = Duration::from_millis(200);
    ejection
}

async fn three(server: &Path, policy: OnFailure) -> (Vec<Daemon>, Client) {
    let daemons: Vec<_> = (0..3).map(|_| Daemon::builder(server).start().unwrap()).collect();
    let builder = Client::builder()
        .timeout(Duration::from_millis(500))
        .ejection(ejection())
        .on_failure(policy);
    let client = builder.connect(&list(&daemons)).await.unwrap();
    (daemons, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_fails_its_own_keys_and_comes_back() {
    for server in servers() {
        let (mut daemons, client) = three(&server, OnFailure::Fail).await;
        let node = address(&daemons[0]);
        let port = daemons[0].port().unwrap().to_string();
        let load = Load::start(&client, &node);
        load.answers(false, 100).await;
        drop(daemons.remove(0));
        until("ejected", || is_ejected(&client, &node)).await;
        load.answers(true, 100).await;
        daemons.push(Daemon::builder(&server).args(["-p", &port]).start().unwrap());
        let begun = Instant::now();
        until("back", || !is_ejected(&client, &node)).await;
        let back = begun.elapsed();
        load.answers(false, 100).await;
        let seen = load.end().await;
        seen.print(&format!("killed, {}, back after {back:?}", server.display()));
        let [own, others] = Seen::count(&seen.n_errors);
        assert!(own > 0 && others == 0, "{own} {others}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_node_takes_the_keys_of_one_that_is_killed() {
    for server in servers() {
        let (mut daemons, client) = three(&server, OnFailure::NextInRing { max: 1 }).await;
        let node = address(&daemons[0]);
        let load = Load::start(&client, &node);
        load.answers(false, 100).await;
        drop(daemons.remove(0));
        until("ejected", || is_ejected(&client, &node)).await;
        let [before, _] = Seen::count(&load.seen.n_errors);
        // Those that were under way when it was ejected are told in a moment.
        load.answers(false, 200).await;
        let [after, _] = Seen::count(&load.seen.n_errors);
        assert!(after - before <= 16, "one a task at most: {before} {after}");
        load.answers(false, 200).await;
        let [later, others] = Seen::count(&load.seen.n_errors);
        let seen = load.end().await;
        seen.print(&format!("killed, next in ring, {}", server.display()));
        assert_eq!((later, others), (after, 0), "no error once it is ejected");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_may_be_a_miss() {
    for server in servers() {
        let (mut daemons, client) = three(&server, OnFailure::TreatAsMiss).await;
        let node = address(&daemons[0]);
        let load = Load::start(&client, &node);
        load.answers(false, 100).await;
        drop(daemons.remove(0));
        until("ejected", || is_ejected(&client, &node)).await;
        load.answers(false, 100).await;
        let keys: Vec<_> = (0..100).map(|n| format!("key:{n}")).collect();
        let many = client.get_many(&keys).await.unwrap();
        for (key, item) in keys.iter().zip(many) {
            assert!(item.is_none() || *client.route(key)[0] != *node);
        }
        let seen = load.end().await;
        assert_eq!(Seen::count(&seen.n_errors), [0, 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_is_left_out_until_it_goes_on() {
    for server in servers() {
        let (daemons, client) = three(&server, OnFailure::NextInRing { max: 1 }).await;
        let node = address(&daemons[0]);
        let signal = |name: &str| {
            let pid = daemons[0].pid().to_string();
            assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
        };
        let load = Load::start(&client, &node);
        load.answers(false, 100).await;
        signal("-STOP");
        let begun = Instant::now();
        until("ejected", || is_ejected(&client, &node)).await;
        let ejected = begun.elapsed();
        load.answers(false, 200).await;
        signal("-CONT");
        let begun = Instant::now();
        until("back", || !is_ejected(&client, &node)).await;
        let back = begun.elapsed();
        load.answers(false, 200).await;
        let seen = load.end().await;
        let times = format!("ejected after {ejected:?}, back after {back:?}");
        seen.print(&format!("stopped, {}, {times}", server.display()));
        let [own, others] = Seen::count(&seen.n_errors);
        assert!(own > 0 && others == 0, "{own} {others}");
        // A task hears of it once or twice: when its call's time is up, and if it asks again before
        // the node is out.
        assert!(own <= 48, "{own}");
    }
}

#[tokio::test]
async fn a_batch_over_a_dead_node_has_the_others_answers() {
    for server in servers() {
        let (mut daemons, client) = three(&server, OnFailure::Fail).await;
        let node = address(&daemons[0]);
        let keys: Vec<_> = (0..100).map(|n| format!("key:{n}")).collect();
        let items = keys.iter().map(|key| (key, key.clone()));
        assert!(client.set_many(items, Ttl::NEVER).await.iter().all(Result::is_ok));
        drop(daemons.remove(0));
        let each = client.get_each(&keys).await;
        for (key, outcome) in keys.iter().zip(each) {
            let is_dead = *client.route(key)[0] == *node;
            match outcome {
                Ok(item) => assert!(!is_dead && item.unwrap().value == *key),
                Err(error) => {
                    assert!(is_dead, "{error}");
                    assert_eq!(error.node(), Some(&*node));
                }
            }
        }
        assert!(client.get_many(&keys).await.is_err());
    }
}

/// A server that has nothing, and says so after a pause; or never.
async fn slow(pause: Option<Duration>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (from, mut to) = stream.into_split();
                let mut lines = BufReader::new(from).lines();
                while let Ok(Some(_)) = lines.next_line().await {
                    let Some(pause) = pause else { continue };
                    tokio::time::sleep(pause).await;
                    if to.write_all(b"END\r\n").await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn time_spent_at_a_silent_node_is_no_failure_of_the_next() {
    for is_batch in [false, true] {
        let silent = slow(None).await;
        let well = slow(Some(Duration::from_millis(300))).await;
        let client = Client::builder()
            .protocol(Protocol::Text)
            .timeout(Duration::from_millis(500))
            .on_failure(OnFailure::NextInRing { max: 1 })
            .connect(&format!("{silent},{well}"))
            .await
            .unwrap();
        let keys = (0..).map(|n| format!("key:{n}"));
        let mut keys = keys.filter(|key| *client.route(key)[0] == *silent);
        let mut ask = |n: usize| -> Vec<_> {
            let ask = |key: String| {
                let client = client.clone();
                tokio::spawn(async move {
                    if is_batch {
                        client.get_many([&key]).await.map(|_| ())
                    } else {
                        client.get(&key).await.map(|_| ())
                    }
                })
            };
            keys.by_ref().take(n).map(ask).collect()
        };
        // When the time of these is up the node is given up. The others are asked elsewhere then,
        // and have too little time left.
        let first = ask(5);
        tokio::time::sleep(Duration::from_millis(150)).await;
        for call in first.into_iter().chain(ask(10)) {
            let error = call.await.unwrap().unwrap_err();
            assert!(is_batch || error.node() == Some(&*silent), "{error}");
        }
        assert!(is_ejected(&client, &silent));
        assert!(!is_ejected(&client, &well));
    }
}
