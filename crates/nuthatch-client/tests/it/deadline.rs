//! Handles whose calls have a time limit of their own.

use std::time::Duration;

use futures_util::future::join_all;
use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, Event};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;

use crate::LONG;
use crate::server::{Script, Server, good, text};

const MOMENT: Duration = Duration::from_millis(5);

#[tokio::test]
async fn the_impatience_of_some_does_not_cost_all_the_connection() {
    let (mut server, client) = Server::start(Script::SHUT, Client::builder().timeout(LONG)).await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.set("a", "x", Ttl::NEVER).await }
    });
    server.has_seen(1).await;
    let mut events = client.events();
    // Twice as many as are held against a server otherwise.
    let hasty = client.with_timeout(MOMENT);
    for result in join_all((0..10).map(|_| hasty.get("a"))).await {
        let error = result.unwrap_err();
        assert!(error.is_timeout() && !error.is_closed(), "{error}");
    }
    server.open();
    first.await.unwrap().unwrap();
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "x");
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)), "it is the same connection");
}

#[tokio::test]
async fn a_server_that_stays_silent_is_given_up_by_the_impatient_too() {
    let builder = Client::builder().timeout(Duration::from_millis(100));
    let (_server, client) = Server::start(Script::SHUT, builder).await;
    let mut events = client.events();
    let hasty = client.with_timeout(MOMENT);
    let given_up = async {
        loop {
            match events.recv().await.unwrap() {
                Event::Ejected { .. } => return,
                event => drop(event),
            }
        }
    };
    let ask = async {
        loop {
            // How each ends is told by the other tests.
            let _ = hasty.get("a").await;
        }
    };
    tokio::select! {
        () = given_up => {}
        () = ask => unreachable!("it has no end"),
        () = tokio::time::sleep(LONG) => panic!("it is given up"),
    }
}

/// Many calls end together that a slow server has not come to yet.
#[tokio::test]
async fn a_server_that_goes_on_answering_is_not_given_up_for_a_long_batch() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let builder = text(Client::builder().timeout(Duration::from_millis(400)));
    let client = builder.connect(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut events = client.events();
    tokio::spawn(async move {
        while stream.write_all(b"STORED\r\n").await.is_ok() {
            tokio::time::sleep(MOMENT).await;
        }
    });
    let all = (0..1000).map(|n| (n.to_string(), "x"));
    let results = client.set_many(all, Ttl::NEVER).await;
    let n_done = results.iter().filter(|result| result.is_ok()).count();
    assert!((2..990).contains(&n_done), "{n_done} of 1000");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)), "it is the same connection");
}

#[tokio::test]
async fn what_is_too_late_is_not_sent() {
    let (server, client) = good().await;
    client.set("a", "x", Ttl::NEVER).await.unwrap();
    let late = client.with_deadline(Instant::now().into_std());
    let error = late.get("a").await.unwrap_err();
    assert!(error.is_timeout() && error.is_unsent(), "{error}");
    assert!(late.get_many(["a", "b"]).await.unwrap_err().is_timeout());
    assert!(late.set_many([("a", "y")], Ttl::NEVER).await.pop().unwrap().unwrap_err().is_timeout());
    assert!(late.nodes()[0].version().await.unwrap_err().is_timeout());
    assert_eq!(server.n_seen(), 1);

    let in_time = client.with_deadline((Instant::now() + LONG).into_std());
    assert_eq!(in_time.get("a").await.unwrap().unwrap().value, "x");
    assert!(in_time.clone().delete("a").await.is_ok());
    // It goes on as long as there is a handle.
    drop((client, late));
    assert_eq!(in_time.get("a").await.unwrap(), None);
}
