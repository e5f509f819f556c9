//! A cluster under load while its nodes and its etcd are killed, stopped, cut off and started again.
//!
//! Four clients share three nodes and their keys: two ask the nodes who they are, two follow etcd;
//! two fail where a node does, two go to the next one; two speak meta commands, two binary. All that
//! they answer is judged ([`ledger`]), every error is held against the fault that there is just then
//! ([`watch`]), and no call may take longer than its time.
//!
//! Without `NUTHATCH_FAULTS`, which `cargo xtask faults` sets to the seconds of the random campaign,
//! only the short ones run.

mod cast;
mod ledger;
mod load;
mod watch;

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use nuthatch_client::tls::ClientTls;
use nuthatch_client::{Client, OnFailure};
use nuthatch_testkit::Etcd;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout};

use cast::{Disk, Lets, Node, TTL};
use ledger::{Written, steady};
use load::{Common, LIMIT, Load};
use watch::{Figures, Happened, Phase, Watched};

use crate::dialects::nuthatchd;

/// The seconds of the random campaign, where there is to be one.
fn seconds() -> Option<u64> {
    let text = env::var("NUTHATCH_FAULTS").ok()?;
    Some(text.parse().expect("NUTHATCH_FAULTS is a number of seconds"))
}

fn is_long() -> bool {
    seconds().is_some()
}

/// A cluster, its users, and what is done to it.
struct World {
    title: String,
    seed: u64,
    etcd: Etcd,
    nodes: Vec<Node>,
    load: Load,
    happened: Arc<Happened>,
    words: Vec<String>,
}

/// How the world is to be.
#[derive(Default)]
struct Setting {
    etcd: Vec<String>,
    /// Nodes are behind proxies.
    proxied: bool,
    /// The first node is on a machine of its own.
    away: bool,
    tls: bool,
}

impl World {
    /// `None`, with a reason on standard error, where something is missing.
    async fn start(title: &str, setting: &Setting) -> Option<Self> {
        let seed = env::var("NUTHATCH_FAULTS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        nuthatchd()?;
        let args: Vec<_> = setting.etcd.iter().map(String::as_str).collect();
        let Some(etcd) = block_in_place(|| Etcd::start_with(&args)).unwrap() else {
            eprintln!("skipped: there is no etcd");
            return None;
        };
        let mut words = Vec::new();
        let mut builder = Client::builder();
        if setting.tls {
            let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()]).unwrap();
            let path = |name: &str| etcd.folder().join(name);
            std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
            std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
            let files = format!(
                "ssl_chain_cert={},ssl_key={}",
                path("cert.pem").display(),
                path("key.pem").display()
            );
            words.extend(["-Z".to_owned(), "-o".to_owned(), files]);
            let tls = ClientTls::builder().roots(path("cert.pem")).server_name("cache.example");
            builder = builder.tls(tls.build().unwrap());
        }
        let mut nodes = Vec::new();
        if setting.away {
            let Some(node) = Node::on_a_machine(&etcd, &words).await else {
                eprintln!("skipped: no networks can be made here; `cargo xtask faults` may");
                return None;
            };
            nodes.push(node);
        }
        while nodes.len() < 3 {
            nodes.push(if setting.proxied {
                Node::behind_a_proxy(&etcd, &words).await
            } else {
                block_in_place(|| Node::here(&etcd, &words))
            });
        }
        let happened = Arc::new(Happened::default());
        let names: Vec<_> = nodes.iter().map(|node| &*node.name).collect();
        let discover = format!("memcached+discover://{}/?poll=1s&", names.join(","));
        let etcds = format!("memcached+etcd://127.0.0.1:{}/faults?", etcd.port());
        let mut clients = Vec::new();
        for (name, url, protocol, policy) in [
            ("discover meta fail", &discover, "meta", OnFailure::Fail),
            ("etcd meta next", &etcds, "meta", OnFailure::NextInRing { max: 1 }),
            ("discover binary next", &discover, "binary", OnFailure::NextInRing { max: 1 }),
            ("etcd binary fail", &etcds, "binary", OnFailure::Fail),
        ] {
            let log = watch::Log::new(&happened);
            let url = format!("{url}protocol={protocol}");
            let builder = builder.clone().timeout(LIMIT).on_failure(policy);
            let builder = builder.observer(watch::Writer(Arc::clone(&log)));
            // The nodes find one another first.
            let mut tries = 0;
            let client = loop {
                match builder.connect(&url).await {
                    Ok(client) => break client,
                    Err(error) if tries > 20 => panic!("{name}: {error}"),
                    Err(_) => tries += 1,
                }
            };
            clients.push(Watched { name, client, policy, log });
        }
        let (n_tasks, pause) = if is_long() { (16, 8) } else { (8, 20) };
        let common = Common::new(clients, n_tasks, Duration::from_millis(pause));
        let load = Load::idle(Arc::new(common));
        let title = title.to_owned();
        let mut world = Self { title, seed, etcd, nodes, load, happened, words };
        world.lists_are_right().await;
        world.load.start(seed);
        sleep(Duration::from_secs(1)).await;
        Some(world)
    }

    fn clients(&self) -> &[Watched] {
        &self.load.common.clients
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let reached = async {
            while !is_so() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            let logs: Vec<_> = self.nodes.iter().map(Node::log).collect();
            let views: Vec<_> = self.clients().iter().map(|on| on.client.status()).collect();
            panic!("{}: not in time: {what}; {views:#?} {}", self.title, logs.join("\n"));
        }
    }

    /// All clients have the nodes that run, and no others.
    async fn lists_are_right(&self) {
        let mut names: Vec<_> =
            self.nodes.iter().filter(|node| node.runs()).map(|node| &*node.name).collect();
        names.sort_unstable();
        self.until(&format!("all know {names:?}"), || {
            self.clients().iter().all(|on| {
                let status = on.client.status();
                let mut own: Vec<_> = status.nodes.iter().map(|node| &*node.name).collect();
                own.sort_unstable();
                own == names
            })
        })
        .await;
    }

    /// How often the clients' lists were changed.
    fn n_lists(&self) -> u64 {
        self.clients().iter().map(|on| on.log.n_lists.load(Ordering::SeqCst)).sum()
    }

    /// No client had another list meanwhile: all nodes were there all the time.
    fn lists_stayed(&self, n_before: u64) {
        let n = self.n_lists() - n_before;
        if n > 0 {
            self.load.common.judge.wrong(format!("{n} changes of lists"));
        }
    }

    /// A fault of this node begins: its keys may fail.
    fn fault(&self, node: usize) {
        for on in self.clients() {
            on.fault(&self.nodes[node].name);
        }
    }

    /// It ends.
    fn undone(&self, node: usize) {
        for on in self.clients() {
            on.undone(&self.nodes[node].name);
        }
    }

    fn kill(&mut self, node: usize) {
        self.fault(node);
        block_in_place(|| self.nodes[node].kill());
        // What was in its memory is not there any more.
        self.happened.to(&self.nodes[node].name);
    }

    fn restart(&mut self, node: usize) {
        self.undone(node);
        block_in_place(|| self.nodes[node].start());
    }

    async fn ejected(&self, node: usize) {
        let name = &self.nodes[node].name;
        self.until("ejected", || {
            self.clients().iter().all(|on| on.is_ejected(name) || !on.is_listed(name))
        })
        .await;
    }

    async fn unlisted(&self, node: usize) {
        let name = &self.nodes[node].name;
        self.until("unlisted", || self.clients().iter().all(|on| !on.is_listed(name))).await;
    }

    /// The node is in use again, by everybody, and there is no fault any more.
    async fn back(&self, node: usize) {
        let name = &self.nodes[node].name;
        self.until("back", || {
            let is_back =
                |on: &Watched| on.is_listed(name) && !on.is_ejected(name) && on.has_answered(name);
            self.clients().iter().all(is_back)
        })
        .await;
        // Calls that were begun before, and failed, have been told so by then.
        sleep(LIMIT + Duration::from_millis(500)).await;
        for on in self.clients() {
            on.over(name);
        }
    }

    /// Ends the load, reads everything everywhere, and tells what there was to be seen.
    async fn end(self) {
        self.lists_are_right().await;
        sleep(Duration::from_secs(1)).await;
        let common = self.load.end().await;
        for keys in &common.keys {
            for (n, key) in keys.iter().enumerate() {
                let on = &common.clients[n % common.clients.len()];
                let (before, (version, value)) = (on.place(&key.name), key.begin());
                let stored = on.client.set(&key.name, value, nuthatch_client::types::Ttl::NEVER);
                if let Err(error) = stored.await {
                    common.judge.wrong(format!("{}: in the end: {error}", on.name));
                }
                key.end(version, Written::Yes, steady(before, on.place(&key.name)));
            }
            for on in &common.clients {
                let all = on.client.get_each(keys.iter().map(|key| &key.name)).await;
                for (key, got) in keys.iter().zip(all) {
                    match got {
                        Ok(item) => {
                            let floor = key.floor();
                            let place = on.place(&key.name);
                            let answer = item.as_ref().map(|item| &*item.value);
                            key.judge(&common.judge, on.name, answer, &floor, place.as_ref());
                        }
                        Err(error) => {
                            common.judge.wrong(format!("{}: in the end: {error}", on.name));
                        }
                    }
                }
            }
        }
        report(&self.title, self.seed, &common);
        assert_eq!(common.n_stuck.load(Ordering::Relaxed), 0, "calls that do not end");
        let wrong = common.judge.wrong.lock();
        assert!(wrong.is_empty(), "{} wrong, the first: {}", wrong.len(), wrong[0]);
    }
}

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn report(title: &str, seed: u64, common: &Common) {
    let judge = &common.judge;
    let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
    let mut text = format!(
        "\n{title} (seed {seed}): {} right, {} wrong, {} stuck; legal: {} missing, {} old, {} late\n",
        count(&judge.n_right),
        count(&judge.n_wrong),
        count(&common.n_stuck),
        count(&judge.n_missing),
        count(&judge.n_old),
        count(&judge.n_late),
    );
    let _ = writeln!(
        text,
        "{:<21} {:>7} {:>8} {:>7} {:>7} | errors {} | {:>7} {:>7}",
        "client",
        "ejected",
        "unlisted",
        "answers",
        "listed",
        Phase::ALL.map(|phase| format!("{phase:?}").to_lowercase()).join(" "),
        "calls",
        "longest"
    );
    for on in &common.clients {
        let figures = on.log.figures.lock();
        let errors = on.log.n_errors.each_ref().map(|n| count(n).to_string()).join(" ");
        let _ = writeln!(
            text,
            "{:<21} {} | {errors} | {:>7} {:>6.2}s {:?}",
            on.name,
            worst(&figures),
            count(&on.log.n_calls),
            Duration::from_micros(count(&on.log.longest_us)).as_secs_f64(),
            on.log.kinds.lock(),
        );
    }
    eprint!("{text}");
}

/// The longest of each, where there were several faults.
fn worst(all: &[Figures]) -> Figures {
    all.iter().fold(Figures::default(), |worst, one| Figures {
        ejected: worst.ejected.max(one.ejected),
        unlisted: worst.unlisted.max(one.unlisted),
        listed: worst.listed.max(one.listed),
        answered: worst.answered.max(one.answered),
    })
}

/// A world for this test, if it is to run now.
async fn world(title: &str, setting: Setting) -> Option<World> {
    if is_long() { World::start(title, &setting).await } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short() {
    let Some(mut world) = World::start("short", &Setting::default()).await else { return };
    world.kill(0);
    world.ejected(0).await;
    world.restart(0);
    world.back(0).await;
    block_in_place(|| world.etcd.stop());
    world.kill(1);
    world.ejected(1).await;
    block_in_place(|| world.etcd.start_again()).unwrap();
    world.unlisted(1).await;
    world.restart(1);
    world.back(1).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed() {
    for tls in [false, true] {
        let title = if tls { "node SIGKILLed, over TLS" } else { "node SIGKILLed" };
        let setting = Setting { tls, ..Setting::default() };
        let Some(mut world) = world(title, setting).await else { return };
        world.kill(0);
        world.ejected(0).await;
        world.unlisted(0).await;
        sleep(Duration::from_secs(1)).await;
        world.restart(0);
        world.back(0).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_restarted_at_once() {
    let Some(mut world) = world("node SIGKILLed, back at once", Setting::default()).await else {
        return;
    };
    world.kill(0);
    world.restart(0);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped() {
    for tls in [false, true] {
        let title = if tls { "node SIGSTOPped, over TLS" } else { "node SIGSTOPped" };
        let setting = Setting { tls, ..Setting::default() };
        let Some(world) = world(title, setting).await else { return };
        world.fault(0);
        world.nodes[0].signal("-STOP");
        world.ejected(0).await;
        world.unlisted(0).await;
        sleep(Duration::from_secs(1)).await;
        world.undone(0);
        world.nodes[0].signal("-CONT");
        world.back(0).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_off() {
    for (title, lets) in [
        ("node says nothing (proxy)", Lets::Nothing),
        ("node's port closed, connections silent (proxy)", Lets::Closed),
        ("node's answers lost (proxy)", Lets::Requests),
    ] {
        let setting = Setting { proxied: true, ..Setting::default() };
        let Some(world) = world(title, setting).await else { return };
        world.fault(0);
        world.nodes[0].proxy().set(lets);
        world.ejected(0).await;
        // etcd hears of the node as before: it stays in the list.
        sleep(Duration::from_secs(5)).await;
        world.undone(0);
        world.nodes[0].proxy().set(Lets::All);
        world.back(0).await;
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_dropped() {
    let setting = Setting { away: true, ..Setting::default() };
    let Some(world) = world("node's packets dropped", setting).await else { return };
    world.fault(0);
    world.nodes[0].machine().cut(true);
    world.ejected(0).await;
    world.unlisted(0).await;
    sleep(Duration::from_secs(2)).await;
    world.undone(0);
    world.nodes[0].machine().cut(false);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leaves_and_one_joins() {
    let Some(mut world) = world("node SIGTERMed, another joins", Setting::default()).await else {
        return;
    };
    let joining = block_in_place(|| Node::here(&world.etcd, &world.words));
    world.nodes.push(joining);
    world.lists_are_right().await;
    sleep(Duration::from_secs(1)).await;
    world.fault(0);
    block_in_place(|| world.nodes[0].end());
    world.happened.to(&world.nodes[0].name);
    world.unlisted(0).await;
    sleep(LIMIT).await;
    for on in world.clients() {
        on.over(&world.nodes[0].name);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_killed() {
    let Some(mut world) = world("etcd SIGKILLed", Setting::default()).await else { return };
    let n_lists = world.n_lists();
    block_in_place(|| world.etcd.stop());
    sleep(Duration::from_secs(5)).await;
    block_in_place(|| world.etcd.start_again()).unwrap();
    sleep(Duration::from_secs(5)).await;
    world.lists_stayed(n_lists);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_stopped() {
    for secs in [1, 3, 12] {
        let title = format!("etcd SIGSTOPped for {secs} s");
        let Some(world) = world(&title, Setting::default()).await else { return };
        let (n_lists, pid) = (world.n_lists(), world.etcd.pid().unwrap());
        cast::signal("-STOP", pid);
        sleep(Duration::from_secs(secs)).await;
        cast::signal("-CONT", pid);
        sleep(Duration::from_secs(6)).await;
        world.lists_stayed(n_lists);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_emptied() {
    let Some(mut world) = world("etcd emptied", Setting::default()).await else { return };
    let n_lists = world.n_lists();
    block_in_place(|| world.etcd.lose_data()).unwrap();
    block_in_place(|| world.etcd.start_again()).unwrap();
    sleep(Duration::from_secs(8)).await;
    world.lists_stayed(n_lists);
    // It is followed again.
    world.kill(0);
    world.unlisted(0).await;
    world.restart(0);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_and_etcd_killed() {
    let Some(mut world) = world("node and etcd SIGKILLed", Setting::default()).await else {
        return;
    };
    block_in_place(|| world.etcd.stop());
    world.kill(0);
    world.ejected(0).await;
    sleep(Duration::from_secs(3)).await;
    block_in_place(|| world.etcd.start_again()).unwrap();
    world.unlisted(0).await;
    world.restart(0);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_out_of_quota() {
    let etcd = ["--quota-backend-bytes", "2000000"].map(str::to_owned).to_vec();
    let setting = Setting { etcd, ..Setting::default() };
    let Some(mut world) = world("etcd out of quota, node SIGKILLed", setting).await else { return };
    block_in_place(|| (0..100).take_while(|n| cast::put(&world.etcd, *n, 100_000)).count());
    world.kill(0);
    world.ejected(0).await;
    world.unlisted(0).await;
    // It serves, and is not let in before there is room.
    world.restart(0);
    sleep(Duration::from_secs(4)).await;
    block_in_place(|| cast::make_room(&world.etcd));
    world.undone(0);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_on_a_full_disk() {
    if !is_long() {
        return;
    }
    let Some(disk) = Disk::mount() else {
        return eprintln!("skipped: no file system can be mounted here; `cargo xtask faults` may");
    };
    let etcd = vec!["--data-dir".to_owned(), disk.data().display().to_string()];
    let setting = Setting { etcd, ..Setting::default() };
    let Some(mut world) = world("etcd on a full disk, node SIGKILLed", setting).await else {
        return;
    };
    disk.fill();
    let n_taken =
        block_in_place(|| (0..200).take_while(|n| cast::put(&world.etcd, *n, 500_000)).count());
    eprintln!("etcd took {n_taken} more values of 500 kB");
    world.kill(0);
    world.ejected(0).await;
    sleep(Duration::from_secs(5)).await;
    disk.clear();
    block_in_place(|| world.etcd.start_again()).unwrap();
    world.unlisted(0).await;
    world.restart(0);
    world.back(0).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_random() {
    let Some(seconds) = seconds() else { return };
    let setting = Setting { proxied: true, ..Setting::default() };
    let Some(mut world) = World::start("at random", &setting).await else { return };
    let mut rng = Rng::with_seed(world.seed);
    eprintln!("seed {}", world.seed);
    let begun = Instant::now();
    let mut n_faults = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let node = rng.usize(0..world.nodes.len());
        let hold = Duration::from_millis(rng.u64(50..6000));
        let etcd_hold = Duration::from_millis(rng.u64(0..6000));
        let kind = rng.u8(0..9);
        // Often etcd is away meanwhile.
        let etcd = rng.u8(0..8);
        eprintln!(
            "{:>6.1} {kind} of {node} for {hold:?}, etcd {etcd}",
            begun.elapsed().as_secs_f64()
        );
        let pid = world.etcd.pid().unwrap();
        match etcd {
            0 => block_in_place(|| world.etcd.stop()),
            1 => cast::signal("-STOP", pid),
            2 => block_in_place(|| world.etcd.lose_data()).unwrap(),
            _ => {}
        }
        match kind {
            0..3 => {
                world.kill(node);
                sleep(hold).await;
                world.restart(node);
            }
            3 | 4 => {
                world.fault(node);
                world.nodes[node].signal("-STOP");
                sleep(hold).await;
                world.undone(node);
                world.nodes[node].signal("-CONT");
            }
            5..8 => {
                world.fault(node);
                let lets = [Lets::Nothing, Lets::Closed, Lets::Requests][usize::from(kind - 5)];
                world.nodes[node].proxy().set(lets);
                sleep(hold).await;
                world.undone(node);
                world.nodes[node].proxy().set(Lets::All);
            }
            _ => sleep(hold).await,
        }
        if etcd < 3 {
            sleep(etcd_hold).await;
        }
        match etcd {
            0 | 2 => block_in_place(|| world.etcd.start_again()).unwrap(),
            1 => cast::signal("-CONT", pid),
            _ => {}
        }
        if kind < 8 {
            world.back(node).await;
        }
        n_faults += 1;
        sleep(Duration::from_millis(rng.u64(0..2000))).await;
    }
    world.title = format!("{n_faults} faults at random in {seconds} s");
    world.end().await;
}

/// The shortest time in which a list can change because of a lease that has ended.
const _: () = assert!(TTL.as_secs() == 2);
