//! Several nodes: where keys go, and lists of nodes that change.

use std::io::{Read, Write};
use std::time::Duration;

use nuthatch_client::route::{HashKind, Node, Router};
use nuthatch_client::types::Ttl;
use nuthatch_client::{AutoDiscovery, Builder, Client, Event};
use nuthatch_testkit::Daemon;

use crate::LONG;
use crate::dialects::{nuthatchd, patient, servers};

pub(crate) fn address(daemon: &Daemon) -> String {
    format!("127.0.0.1:{}", daemon.port().unwrap())
}

pub(crate) fn list(daemons: &[Daemon]) -> String {
    daemons.iter().map(address).collect::<Vec<_>>().join(",")
}

/// Asks as anybody would.
fn ask(daemon: &Daemon, input: &str) -> String {
    let mut connection = daemon.connect().unwrap();
    connection.write_all(input.as_bytes()).unwrap();
    connection.finish_writing().unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn keys_are_where_the_ring_says() {
    for server in servers() {
        let daemons: Vec<_> = (0..3).map(|_| Daemon::builder(&server).start().unwrap()).collect();
        let router = Router::ketama_libmemcached_weighted();
        let client = patient().router(router).connect(&list(&daemons)).await.unwrap();
        let keys: Vec<_> = (0..300).map(|n| format!("key:{n}")).collect();
        let items = keys.iter().map(|key| (key, key.clone()));
        let stored = client.set_many(items, Ttl::NEVER).await;
        assert!(stored.iter().all(Result::is_ok));
        for daemon in &daemons {
            let own: Vec<_> =
                keys.iter().filter(|key| *client.route(key)[0] == address(daemon)).collect();
            assert!(own.len() > 50, "{}", own.len());
            let alone = patient().connect(&address(daemon)).await.unwrap();
            let found = alone.get_many(&keys).await.unwrap();
            for (key, item) in keys.iter().zip(found) {
                assert_eq!(item.is_some(), own.contains(&key), "{key}");
            }
        }
        // In the order of the keys, from wherever they are.
        let found = client.get_many(&keys).await.unwrap();
        assert!(keys.iter().zip(&found).all(|(key, item)| item.as_ref().unwrap().value == *key));
        assert_eq!(client.nodes().len(), 3);
        client.flush_all().await.unwrap();
        assert!(client.get_many(&keys).await.unwrap().iter().all(Option::is_none));
        let status = client.status();
        assert!(status.nodes.iter().all(|node| node.n_connected == 1 && !node.is_ejected));
    }
}

/// Nodes that tell their list.
struct Cluster(Vec<Daemon>);

impl Cluster {
    fn start(n: usize) -> Option<Self> {
        let server = nuthatchd()?;
        let start = |_| Daemon::builder(&server).args(["-o", "discovery"]).start().unwrap();
        Some(Self((0..n).map(start).collect()))
    }

    /// Tells all nodes that these are the members.
    fn set(&self, version: u64, members: &[usize]) {
        let node =
            |at: &usize| format!("cache-{at}.invalid|127.0.0.1|{}", self.0[*at].port().unwrap());
        let nodes: Vec<_> = members.iter().map(node).collect();
        let payload = format!("{version}\n{}\n", nodes.join(" "));
        let set = format!("config set cluster 0 {}\r\n{payload}\r\n", payload.len());
        for daemon in &self.0 {
            assert_eq!(ask(daemon, &set), "STORED\r\n");
        }
    }

    async fn client(&self, builder: Builder) -> Client {
        let cluster = AutoDiscovery::at(&address(&self.0[0])).unwrap();
        builder.auto_discover(cluster.poll_every(Duration::from_millis(100))).await.unwrap()
    }
}

/// The usual interval is a minute, and two of the three that could be asked are gone, the one that
/// was named first among them.
#[tokio::test]
async fn a_client_asks_soon_when_nodes_fail_and_whoever_is_left() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    cluster.set(1, &[0, 1, 2]);
    let endpoint = AutoDiscovery::at(&address(&cluster.0[0])).unwrap();
    let client = patient().auto_discover(endpoint).await.unwrap();
    cluster.set(2, &[2]);
    cluster.0.drain(..2);
    let failing = async {
        loop {
            for n in 0..30 {
                // It is the failures that are wanted.
                let _ = client.get(format!("{n}")).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = version(&client, 2) => {}
        () = failing => unreachable!("it has no end"),
    }
    assert_eq!(client.nodes().len(), 1);
    client.set("a", "x", Ttl::NEVER).await.unwrap();
}

async fn version(client: &Client, version: u64) {
    let reached = async {
        while client.status().version != version {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, reached).await.expect("the list comes in time");
}

#[tokio::test]
async fn a_client_follows_its_cluster_and_loses_nothing() {
    let Some(cluster) = Cluster::start(3) else { return };
    cluster.set(1, &[0, 1]);
    let client = cluster.client(patient()).await;
    let mut events = client.events();
    assert_eq!(client.status().version, 1);
    // What is called by name is reached at the address that the list has for it.
    let names = |client: &Client| -> Vec<String> {
        client.nodes().iter().map(|node| node.name().to_owned()).collect()
    };
    let name = |at: usize| format!("cache-{at}.invalid:{}", cluster.0[at].port().unwrap());
    assert_eq!(names(&client), {
        let mut all = [name(0), name(1)];
        all.sort();
        all
    });

    let is_over = tokio::sync::watch::Sender::new(false);
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (client, is_over) = (client.clone(), is_over.subscribe());
            tokio::spawn(async move {
                let mut n = 0_u64;
                while !*is_over.borrow() {
                    let key = format!("{task}:{}", n % 50);
                    client.set(&key, key.clone(), Ttl::NEVER).await.unwrap();
                    // It may have gone elsewhere between the two, but it is never another's.
                    if let Some(item) = client.get(&key).await.unwrap() {
                        assert_eq!(item.value, key);
                    }
                    n += 1;
                }
                n
            })
        })
        .collect();
    cluster.set(2, &[0, 1, 2]);
    version(&client, 2).await;
    cluster.set(3, &[1, 2]);
    version(&client, 3).await;
    // Versions do not go back.
    cluster.set(2, &[0]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.status().version, 3);
    assert_eq!(client.nodes().len(), 2);
    is_over.send_replace(true);
    for task in tasks {
        assert!(task.await.unwrap() > 0);
    }
    let (mut n_added, mut n_removed, mut n_failed) = (0, 0, 0);
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Members { added, removed, .. } => {
                n_added += added.len();
                n_removed += removed.len();
            }
            Event::Failed { .. } | Event::Ejected { .. } => n_failed += 1,
            _ => {}
        }
    }
    // Nodes that stayed kept their connections.
    assert_eq!((n_added, n_removed, n_failed), (1, 1, 0));
}

/// Rules by position share a cluster only if all take the order as it is told.
#[tokio::test]
async fn nodes_are_in_the_order_that_is_told() {
    let Some(cluster) = Cluster::start(3) else { return };
    cluster.set(1, &[2, 0, 1]);
    let modula = Router::modula_libmemcached(HashKind::OneAtATime);
    let client = cluster.client(patient().router(modula.clone())).await;
    let told = [2, 0, 1].map(|at| (format!("cache-{at}.invalid"), cluster.0[at].port().unwrap()));
    let ring = modula.ring(&told.clone().map(|(host, port)| Node::new(host, port)));
    let names = told.map(|(host, port)| format!("{host}:{port}"));
    assert!(client.nodes().iter().map(|node| node.name()).eq(&names));
    for key in ["a", "b", "c", "d", "e", "f"] {
        assert_eq!(*client.route(key)[0], names[ring.pick(key.as_bytes()).unwrap()], "{key}");
    }
}

#[tokio::test]
async fn a_node_that_moves_keeps_its_name_and_its_calls() {
    let Some(cluster) = Cluster::start(2) else { return };
    let tell = |version: u64, address: &str| {
        let port = cluster.0[0].port().unwrap();
        let payload = format!("{version}\ncache.invalid|{address}|{port}\n");
        let set = format!("config set cluster 0 {}\r\n{payload}\r\n", payload.len());
        assert_eq!(ask(&cluster.0[0], &set), "STORED\r\n");
    };
    tell(1, "127.0.0.1");
    let client = cluster.client(patient()).await;
    client.set("a", "1", Ttl::NEVER).await.unwrap();
    let mut events = client.events();
    // The same machine by another address.
    tell(2, "localhost");
    version(&client, 2).await;
    let again = async {
        loop {
            if let Ok(Event::Connected { .. }) = events.recv().await {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, again).await.expect("it connects again");
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
    assert_eq!(client.nodes().len(), 1);
}

#[tokio::test]
async fn the_list_may_be_an_item() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        let payload = format!("5\nlocalhost|127.0.0.1|{}\n", daemon.port().unwrap());
        let item = format!("set AmazonElastiCache:cluster 0 0 {}\r\n{payload}\r\n", payload.len());
        assert_eq!(ask(&daemon, &item), "STORED\r\n");
        let url = format!(
            "memcached+discover://{}/?connect_timeout=20s&timeout=20s&endpoint_only&poll=1s",
            address(&daemon)
        );
        let client = Client::connect(&url).await.unwrap();
        assert_eq!(client.status().version, 5);
        client.set("a", "1", Ttl::NEVER).await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_tells_nothing_is_an_error() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        let builder = Client::builder().connect_timeout(Duration::from_millis(200));
        let cluster = AutoDiscovery::at(&address(&daemon)).unwrap();
        let error = builder.auto_discover(cluster).await.unwrap_err();
        assert!(error.is_discovery() && error.is_connect(), "{error}");
        let said = format!("{} has none for `config get cluster`", address(&daemon));
        assert!(error.to_string().contains(&said), "{error}");
    }
}
