//! A real memcached, where one is installed.

use nuthatch_client::types::{Stored, Ttl};
use nuthatch_client::{Client, Protocol};
use nuthatch_testkit::{Daemon, find_program};

use crate::LONG;
use crate::calls::{every_command, fifty_tasks, values_of_all_sizes};

/// A server, and a client of it; `None`, and a word about it, where there is no memcached.
async fn start(args: &[&str], is_unix: bool) -> Option<(Daemon, Client)> {
    let Some(memcached) = find_program("memcached") else {
        eprintln!("skipped: no memcached is installed");
        return None;
    };
    let builder = Daemon::builder(memcached).args(args);
    let daemon = if is_unix { builder.unix() } else { builder }.start().unwrap();
    let address = match (daemon.port(), daemon.socket_path()) {
        (Some(port), _) => format!("localhost:{port}"),
        (None, Some(path)) => path.to_str().unwrap().to_owned(),
        (None, None) => unreachable!("it listens at one or the other"),
    };
    let client = Client::builder().timeout(LONG).connect(&address).await.unwrap();
    Some((daemon, client))
}

#[tokio::test]
async fn memcached_understands_every_command() {
    for is_unix in [false, true] {
        let Some((_daemon, client)) = start(&[], is_unix).await else { return };
        every_command(&client).await;
        let version = client.version().await.unwrap();
        let stats = client.stats().await.unwrap();
        assert_eq!(stats.get("version"), Some(version.as_str()));
        assert!(stats.len() > 30 && stats.get("curr_items").is_some());
    }
}

#[tokio::test]
async fn memcached_keeps_values_of_all_sizes() {
    let Some((_daemon, client)) = start(&["-I", "8m", "-m", "256"], false).await else { return };
    values_of_all_sizes(&client).await;
}

#[tokio::test]
async fn memcached_serves_fifty_tasks_on_one_connection() {
    // With one thread, connections are counted in the order in which they were made.
    let Some((_daemon, client)) = start(&["-t", "1"], false).await else { return };
    let connections = async || {
        let stats = client.stats().await.unwrap();
        stats.get("total_connections").map(str::to_owned).unwrap()
    };
    let before = connections().await;
    fifty_tasks(&client, 100).await;
    assert_eq!(connections().await, before);
}

#[tokio::test]
async fn memcached_refuses_what_is_too_large_for_it() {
    let Some((_daemon, client)) = start(&[], false).await else { return };
    assert_eq!(client.set("a", "small", Ttl::NEVER).await.unwrap(), Stored::Stored);
    let error = client.set("b", vec![0; 2 << 20], Ttl::NEVER).await.unwrap_err();
    assert!(error.is_server_error(), "{error}");
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "small");
}

#[tokio::test]
async fn statistics_of_other_kinds_are_read() {
    let Some((daemon, _)) = start(&[], false).await else { return };
    // Meta commands are not counted by prefix.
    let builder = Client::builder().timeout(LONG).protocol(Protocol::Text);
    let address = format!("localhost:{}", daemon.port().unwrap());
    let client = builder.connect(&address).await.unwrap();
    client.set("apple", "green", Ttl::NEVER).await.unwrap();
    assert_eq!(client.stats_of("settings").await.unwrap().get("item_size_max"), Some("1048576"));
    let items = client.stats_of("items").await.unwrap();
    let number = items.iter().find_map(|(name, value)| name.ends_with(":number").then_some(value));
    assert_eq!(number, Some("1"));
    assert!(client.stats_of("detail on").await.unwrap().is_empty());
    client.set("user:1", "x", Ttl::NEVER).await.unwrap();
    let detail = client.stats_of("detail dump").await.unwrap();
    assert_eq!(detail.get("user"), Some("get 0 hit 0 set 1 del 0"));
}

#[tokio::test]
async fn a_memcached_that_is_killed_fails_its_calls() {
    let Some((daemon, client)) = start(&[], false).await else { return };
    client.set("a", "x", Ttl::NEVER).await.unwrap();
    drop(daemon);
    let error = client.get("a").await.unwrap_err();
    assert!(error.is_closed() || error.is_connect(), "{error}");
}
