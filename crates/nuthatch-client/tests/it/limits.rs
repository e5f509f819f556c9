//! What cannot be sent, and what is not to be received.

use nuthatch_client::types::{Key, Stored, Ttl};
use nuthatch_client::{Client, Retry, StoreOptions};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::LONG;
use crate::cancel::turns;
use crate::server::{LARGEST_BYTES, Script, Server, good, parrot, text};

#[tokio::test]
async fn bad_keys_are_not_sent() {
    let (server, client) = good().await;
    let long = "k".repeat(251);
    for key in ["", " ", "a b", "a\r\nflush_all", "tab\t", "nul\0", "del\x7f", &long] {
        assert!(client.get(key).await.unwrap_err().is_key(), "{key:?}");
        assert!(client.get_many(["good", key]).await.unwrap_err().is_key(), "{key:?}");
        assert!(client.set(key, "x", Ttl::NEVER).await.unwrap_err().is_key(), "{key:?}");
        assert!(client.append(key, "x").await.unwrap_err().is_key(), "{key:?}");
        assert!(client.delete(key).await.unwrap_err().is_key(), "{key:?}");
        assert!(client.touch(key, Ttl::NEVER).await.unwrap_err().is_key(), "{key:?}");
        let error = client.incr(key, 1).await.unwrap_err();
        assert!(error.is_key() && error.is_unsent() && !error.is_refused(), "{key:?}");
    }
    assert!(client.stats_of("items\r\nflush_all").await.unwrap_err().is_key());
    assert_eq!(server.n_seen(), 0);

    for key in [&"k".repeat(250), "clé", "!"] {
        assert_eq!(client.set(key, "x", Ttl::NEVER).await.unwrap(), Stored::Stored);
        assert_eq!(client.get(Key::new(key).unwrap()).await.unwrap().unwrap().value, "x");
    }
}

#[tokio::test]
async fn values_above_the_limit_are_not_sent() {
    let builder = Client::builder().timeout(LONG).value_bytes_max(10);
    let (server, client) = Server::start(Script::default(), builder).await;
    assert_eq!(client.set("a", "0123456789", Ttl::NEVER).await.unwrap(), Stored::Stored);
    let error = client.set("a", "0123456789+", Ttl::NEVER).await.unwrap_err();
    assert!(error.is_too_large() && error.is_unsent() && !error.is_closed());
    assert_eq!(error.to_string(), "value of 11 bytes exceeds the client's limit of 10");
    assert_eq!(server.n_seen(), 1);
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "0123456789");

    // Together they are above it.
    assert_eq!(client.append("a", "+").await.unwrap(), Stored::Stored);
    let error = client.get("a").await.unwrap_err();
    assert!(error.is_too_large() && error.is_closed(), "{error}");
    // The next call has a connection of its own, which the greeting was the first to use.
    client.delete("a").await.unwrap();
    assert_eq!(client.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_value_too_large_for_the_server_leaves_the_connection_in_step() {
    let (_server, client) = good().await;
    client.set("a", "small", Ttl::NEVER).await.unwrap();
    let error = client.set("a", vec![0; LARGEST_BYTES + 1], Ttl::NEVER).await.unwrap_err();
    assert!(error.is_server_error() && !error.is_too_large());
    assert_eq!(error.refusal(), Some("object too large for cache"));
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "small");
}

#[tokio::test]
async fn only_the_call_that_was_answered_too_much_is_told_so() {
    let builder = Client::builder().timeout(LONG).value_bytes_max(100).retry(Retry::NEVER);
    let client = parrot("VALUE a 0 101 1\r\n", builder).await;
    let second = tokio::spawn({
        let client = client.clone();
        async move { client.get("b").await.unwrap_err() }
    });
    let first = client.get("a").await.unwrap_err();
    let second = second.await.unwrap();
    assert!(first.is_too_large() && first.is_closed(), "{first}");
    assert!(!second.is_too_large() && second.is_closed(), "{second}");
}

#[tokio::test]
async fn a_queue_without_a_place_has_one() {
    let builder = Client::builder().timeout(LONG).queue_len(0);
    let (_server, client) = Server::start(Script::default(), builder).await;
    client.set("a", "x", StoreOptions::new()).await.unwrap();
    crate::calls::fifty_tasks(&client, 3).await;
}

/// A server whose connections are stuck once they are asked for `slow`.
#[tokio::test]
async fn calls_pass_others_that_wait_on_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 1024];
                loop {
                    match stream.read(&mut request).await {
                        Err(_) | Ok(0) => return,
                        Ok(n) if request[..n].ends_with(b" slow\r\n") => {
                            return std::future::pending().await;
                        }
                        Ok(_) => stream.write_all(b"END\r\n").await.unwrap(),
                    }
                }
            });
        }
    });
    let builder = text(Client::builder().timeout(LONG).connections_per_node(2));
    let client = builder.connect(&address).await.unwrap();
    while client.status().nodes[0].n_connected < 2 {
        turns(1).await;
    }
    let stuck = tokio::spawn({
        let client = client.clone();
        async move { client.get("slow").await }
    });
    turns(10).await;
    for _ in 0..10 {
        assert_eq!(client.get("quick").await.unwrap(), None);
    }
    assert!(!stuck.is_finished());
    stuck.abort();
}

#[tokio::test]
async fn little_is_encoded_for_a_server_that_does_not_read() {
    let n_calls = 60;
    let script = Script { is_deaf: true, ..Script::default() };
    let (server, client) = Server::start(script, Client::builder().timeout(LONG)).await;
    let calls: Vec<_> = (0..n_calls)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.set("a", vec![0; 1 << 20], Ttl::NEVER).await })
        })
        .collect();
    turns(200).await;
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    server.open();
    assert!(client.get("a").await.unwrap().is_some());
    // What has been encoded is sent; the kernel's buffers hold some 10 MiB of it.
    assert!(server.n_seen() < n_calls / 2, "{} calls were encoded", server.n_seen());
}
