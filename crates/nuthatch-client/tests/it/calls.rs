//! Every command, and many at once.

use nuthatch_client::types::{Deleted, ItemFlags, Stored, Ttl};
use nuthatch_client::{Bytes, Client, StoreOptions};

use crate::LONG;
use crate::server::{Script, Server, good};

#[tokio::test]
async fn every_command_does_what_it_says() {
    let (_server, client) = good().await;
    every_command(&client).await;
    assert_eq!(client.version().await.unwrap(), "1.6.45");
    let stats = client.stats().await.unwrap();
    assert_eq!(stats.iter().collect::<Vec<_>>(), [("curr_items", "0"), ("version", "1.6.45")]);
}

#[tokio::test]
async fn answers_may_come_in_any_pieces() {
    for piece_bytes in [1, 2, 3, 7] {
        let script = Script { piece_bytes: Some(piece_bytes), ..Script::default() };
        let (_server, client) = Server::start(script, Client::builder().timeout(LONG)).await;
        every_command(&client).await;
    }
}

/// Leaves no item behind.
pub(crate) async fn every_command(client: &Client) {
    let never = StoreOptions::new();
    assert_eq!(client.get("apple").await.unwrap(), None);
    assert_eq!(client.replace("apple", "red", never).await.unwrap(), Stored::NotStored);
    assert_eq!(client.append("apple", "!").await.unwrap(), Stored::NotStored);
    let options = StoreOptions::new().ttl(Ttl::secs(1000)).flags(ItemFlags(7));
    assert_eq!(client.add("apple", "green", options).await.unwrap(), Stored::Stored);
    assert_eq!(client.add("apple", "blue", never).await.unwrap(), Stored::NotStored);

    let item = client.get("apple").await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"green"[..], ItemFlags(7)));
    assert_eq!(client.append("apple", String::from(">")).await.unwrap(), Stored::Stored);
    assert_eq!(client.prepend("apple", vec![b'<']).await.unwrap(), Stored::Stored);
    assert_eq!(client.cas("apple", item.cas, "late", never).await.unwrap(), Stored::Exists);
    let item = client.get("apple").await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"<green>"[..], ItemFlags(7)));
    assert_eq!(client.cas("apple", item.cas, "mine", never).await.unwrap(), Stored::Stored);
    assert_eq!(client.cas("pear", item.cas, "mine", never).await.unwrap(), Stored::NotFound);
    assert_eq!(client.replace("apple", "red", never).await.unwrap(), Stored::Stored);

    assert_eq!(client.set("count", "9", Ttl::secs(100_000_000)).await.unwrap(), Stored::Stored);
    assert_eq!(client.incr("count", 2).await.unwrap(), Some(11));
    assert_eq!(client.decr("count", 20).await.unwrap(), Some(0));
    assert_eq!(client.incr("pear", 1).await.unwrap(), None);
    let error = client.incr("apple", 1).await.unwrap_err();
    assert!(error.is_client_error() && error.is_refused() && !error.is_server_error());
    assert_eq!(error.refusal(), Some("cannot increment or decrement non-numeric value"));

    let many = client.get_many(["pear", "count", "apple", "plum", "apple"]).await.unwrap();
    let values: Vec<_> =
        many.iter().map(|item| item.as_ref().map(|item| &item.value[..])).collect();
    let number = values[1].unwrap().trim_ascii_end();
    assert_eq!(values, [None, values[1], Some(b"red"), None, Some(b"red")]);
    assert_eq!(number, b"0");
    assert_eq!(client.get_many([""; 0]).await.unwrap(), []);

    assert!(client.touch("apple", Ttl::secs(60)).await.unwrap());
    assert!(!client.touch("pear", Ttl::NEVER).await.unwrap());
    assert!(client.touch("apple", Ttl::PAST).await.unwrap());
    assert_eq!(client.get("apple").await.unwrap(), None);
    assert_eq!(client.delete("count").await.unwrap(), Deleted::Deleted);
    assert_eq!(client.delete("count").await.unwrap(), Deleted::NotFound);

    client.set("apple", "x", never).await.unwrap();
    client.flush_all().await.unwrap();
    assert_eq!(client.get("apple").await.unwrap(), None);

    assert!(client.stats_of("reset").await.unwrap().is_empty());
    let error = client.stats_of("nonsense").await.unwrap_err();
    assert!(error.is_unknown_command() && error.is_refused());
    assert!(client.is_connected());
}

#[tokio::test]
async fn values_of_all_sizes_come_back() {
    let (_server, client) = good().await;
    values_of_all_sizes(&client).await;
}

/// Up to 5 MiB.
pub(crate) async fn values_of_all_sizes(client: &Client) {
    let sizes = [0, 1, 2, 100, 4095, 4096, 16 << 10, (1 << 20) - 100, 1 << 20, 5 << 20];
    let value = |size: usize| -> Bytes { (0..=250).cycle().take(size).collect() };
    for size in sizes {
        let key = format!("value:{size}");
        let stored = client.set(&key, value(size), StoreOptions::new()).await.unwrap();
        assert_eq!(stored, Stored::Stored, "{size}");
        let item = client.get(&key).await.unwrap().unwrap();
        assert!(item.value == value(size), "{size}");
    }
    let many = client.get_many(sizes.map(|size| format!("value:{size}"))).await.unwrap();
    for (item, size) in many.iter().zip(sizes) {
        assert!(item.as_ref().is_some_and(|item| item.value == value(size)), "{size}");
    }
}

#[tokio::test]
async fn fifty_tasks_share_a_connection() {
    let (_server, client) = good().await;
    fifty_tasks(&client, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_tasks_on_several_threads_share_a_connection() {
    let (_server, client) = good().await;
    fifty_tasks(&client, 100).await;
}

/// Fifty tasks that see only their own items.
pub(crate) async fn fifty_tasks(client: &Client, n_rounds: usize) {
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for round in 0..n_rounds {
                    let key = format!("task:{task}:{}", round % 7);
                    let value = format!("{task} {round} {}", "x".repeat(task * round % 3000));
                    client.set(&key, value.clone(), StoreOptions::new()).await.unwrap();
                    let item = client.get(&key).await.unwrap().unwrap();
                    assert_eq!(item.value, value);
                    let count = format!("count:{task}");
                    match client.incr(&count, 1).await.unwrap() {
                        Some(count) => assert_eq!(count, round as u64),
                        None => {
                            client.set(&count, "0", StoreOptions::new()).await.unwrap();
                        }
                    }
                    let many = client.get_many([&key, "none", &count]).await.unwrap();
                    assert_eq!(many[0].as_ref().unwrap().value, value);
                    assert!(many[1].is_none() && many[2].is_some());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_long_list_of_keys_is_one_round_trip() {
    let (mut server, client) = Server::start(Script::SHUT, Client::builder().timeout(LONG)).await;
    let keys: Vec<_> = (0..1000).map(|n| format!("{n:0250}")).collect();
    let asking = {
        let (client, keys) = (client.clone(), keys.clone());
        tokio::spawn(async move { client.get_many(&keys).await })
    };
    // Not one is answered before the last is there: 32 keys on a line.
    server.has_seen(1000_usize.div_ceil(32)).await;
    server.open();
    assert_eq!(asking.await.unwrap().unwrap(), vec![None; 1000]);
    for n in [3, 500, 999] {
        client.set(&keys[n], format!("{n}"), Ttl::NEVER).await.unwrap();
    }
    let many = client.get_many(&keys).await.unwrap();
    let found: Vec<_> = (0..1000).filter(|n| many[*n].is_some()).collect();
    assert_eq!(found, [3, 500, 999]);
    assert_eq!(many[500].as_ref().unwrap().value, "500");
}

#[tokio::test]
async fn a_server_that_reads_no_more_until_its_answers_are_taken_goes_on() {
    let (_server, client) = good().await;
    let value = Bytes::from(vec![7; 2 << 20]);
    client.set("large", value.clone(), Ttl::NEVER).await.unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (client, value) = (client.clone(), value.clone());
            tokio::spawn(async move {
                if n % 2 == 0 {
                    assert!(client.get("large").await.unwrap().unwrap().value == value);
                } else {
                    client.set("large", value, Ttl::NEVER).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_call_behind_a_large_value_does_not_wait_for_its_answer() {
    let (mut server, client) = Server::start(Script::SHUT, Client::builder().timeout(LONG)).await;
    let setting = tokio::spawn({
        let client = client.clone();
        async move { client.set("large", vec![1; 5 << 20], Ttl::NEVER).await }
    });
    let getting = tokio::spawn(async move { client.get("small").await });
    server.has_seen(2).await;
    server.open();
    assert_eq!(setting.await.unwrap().unwrap(), Stored::Stored);
    assert_eq!(getting.await.unwrap().unwrap(), None);
}
