//! Calls that are alone with a connection, and go on with it on their callers' own tasks.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, Event};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::LONG;
use crate::server::{good, text};

/// Calls one after the other: the first wakes the connection's task, and the next ones do without.
async fn settle(client: &Client) {
    for _ in 0..5 {
        assert_eq!(client.get("nothing").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_dropped_call_hands_its_turn_over() {
    let (_server, client) = good().await;
    client.set("a", "of a", Ttl::NEVER).await.unwrap();
    client.set("b", "of b", Ttl::NEVER).await.unwrap();
    for _ in 0..20 {
        settle(&client).await;
        {
            let mut dropped = pin!(client.get("a"));
            let is_done = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_ready())).await;
            assert!(!is_done, "the server has not run");
        }
        assert_eq!(client.get("b").await.unwrap().unwrap().value, "of b");
    }
}

/// Whoever has the turn need not be polled for the others to be answered.
#[tokio::test]
async fn a_call_that_rests_holds_up_nobody() {
    let (_server, client) = good().await;
    client.set("a", "of a", Ttl::NEVER).await.unwrap();
    client.set("b", "of b", Ttl::NEVER).await.unwrap();
    settle(&client).await;
    let mut resting = pin!(client.get("a"));
    let is_done = poll_fn(|cx| Poll::Ready(resting.as_mut().poll(cx).is_ready())).await;
    assert!(!is_done, "the server has not run");
    for _ in 0..5 {
        assert_eq!(client.get("b").await.unwrap().unwrap().value, "of b");
    }
    assert_eq!(resting.await.unwrap().unwrap().value, "of a");
}

#[tokio::test]
async fn callers_on_many_threads_take_turns() {
    let (_server, client) = good().await;
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let client = client.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(async {
                    for n in 0..200 {
                        let key = format!("{thread}:{n}");
                        client.set(&key, key.clone(), Ttl::NEVER).await.unwrap();
                        assert_eq!(client.get(&key).await.unwrap().unwrap().value, key);
                        if n % 50 == 0 {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                    }
                });
            })
        })
        .collect();
    while !threads.iter().all(std::thread::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A server that answers so many `gets` with a miss and then says nothing; and a client.
async fn mute_after(n_answers: usize, limit: Duration) -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = text(Client::builder().timeout(limit)).connect(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let answering = async {
        let mut buffer = [0; 1024];
        for _ in 0..n_answers {
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream.write_all(b"END\r\n").await.unwrap();
        }
    };
    let asking = async {
        for _ in 0..n_answers {
            assert_eq!(client.get("nothing").await.unwrap(), None);
        }
    };
    tokio::join!(answering, asking);
    (client, stream)
}

#[tokio::test]
async fn a_call_in_its_turn_ends_in_time() {
    let limit = Duration::from_millis(250);
    let (client, _stream) = mute_after(5, limit).await;
    let begun = Instant::now();
    let error = client.get("late").await.unwrap_err();
    assert!(error.is_timeout() && !error.is_unsent(), "{error}");
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    // A shorter limit than the task's alarm knows of.
    let begun = Instant::now();
    let short = client.with_timeout(Duration::from_millis(20));
    assert!(short.get("late").await.unwrap_err().is_timeout());
    assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_ends_after_a_turn_is_noticed_without_a_call() {
    let (client, stream) = mute_after(5, LONG).await;
    let mut events = client.events();
    drop(stream);
    let event =
        timeout(Duration::from_millis(200), events.recv()).await.expect("it is told at once");
    assert!(matches!(event.unwrap(), Event::Failed { .. }));
}

#[tokio::test]
async fn a_connection_that_ends_in_a_turn_fails_its_call() {
    let (client, mut stream) = mute_after(5, LONG).await;
    let getting = client.incr("n", 1);
    let closing = async {
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        drop(stream);
    };
    let (error, ()) = tokio::join!(getting, closing);
    let error = error.unwrap_err();
    assert!(error.is_closed() && error.is_ambiguous(), "{error}");
}

/// What a server says beyond an answer is no answer to the next call, however soon that comes.
#[tokio::test]
async fn what_is_left_of_a_turn_answers_nobody() {
    for surplus in ["END\r\n", "EN", "\n"] {
        let (client, mut stream) = mute_after(5, LONG).await;
        let answering = async {
            assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
            stream.write_all(format!("END\r\n{surplus}").as_bytes()).await.unwrap();
            // Only who goes on with this connection comes here.
            stream.read(&mut [0; 64]).await
        };
        let asking = async {
            assert_eq!(client.get("a").await.unwrap(), None);
            // No turn of another task is between the two.
            let next = client.with_timeout(Duration::from_secs(1)).incr("n", 1).await;
            assert!(next.is_err(), "{surplus:?} answers {next:?}");
        };
        let (read, ()) = tokio::join!(answering, asking);
        assert!(!matches!(read, Ok(1..)), "the next call is not sent over it");
    }
}

/// Whoever has no turn sets a timer of its own; a turn relies on the task, whose runtime may rest.
#[test]
fn a_call_on_another_runtime_ends_in_time_while_that_of_the_connection_rests() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, away) = (runtime(), runtime());
    let (client, _stream) = home.block_on(mute_after(5, Duration::from_millis(250)));
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(away.block_on(client.get("late"))));
    let result = is_done.recv_timeout(Duration::from_secs(5)).expect("it has an end");
    assert!(result.unwrap_err().is_timeout());
}

/// The runtime has heard of the end, and the task has not been polled yet.
#[tokio::test]
async fn a_call_just_after_the_end_is_not_sent_over_the_old_connection() {
    for n_together in 1..=2 {
        let (client, stream) = mute_after(5, LONG).await;
        let mut events = client.events();
        // The server is heard to go while this thread does something else.
        drop(stream);
        std::thread::sleep(Duration::from_millis(20));
        tokio::task::yield_now().await;
        let calls = (0..n_together).map(|_| client.incr("n", 1));
        for result in futures_util::future::join_all(calls).await {
            let error = result.expect_err("nobody is there any more");
            assert!(error.is_unsent() && error.is_connect(), "{error}");
        }
        assert!(matches!(events.recv().await, Ok(Event::Failed { .. })));
    }
}
