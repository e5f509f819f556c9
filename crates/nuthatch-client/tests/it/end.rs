//! Connections that end, or never begin.

use std::io::Write;
use std::time::Duration;

use nuthatch_client::types::{Stored, Ttl};
use nuthatch_client::{Client, Error, Event, Protocol, Retry};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::LONG;
use crate::cancel::turns;
use crate::server::{Script, Server, parrot, text};

/// A server that goes after `cut_after` bytes of the answer to the second request, and is there
/// again at once.
async fn cut(cut_after: usize) {
    let stored = "STORED\r\n".len();
    let script = Script { is_shut: true, cut_after: Some(stored + cut_after), ..Script::default() };
    let builder = Client::builder().timeout(LONG).queue_len(4).retry(Retry::NEVER);
    let (mut server, client) = Server::start(script, builder).await;
    let mut events = client.events();
    let setting = tokio::spawn({
        let client = client.clone();
        async move { client.set("key", vec![b'v'; 1000], Ttl::NEVER).await }
    });
    server.has_seen(1).await;
    let getting: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get("key").await })
        })
        .collect();
    server.has_seen(4).await;
    server.open();
    assert_eq!(setting.await.unwrap().unwrap(), Stored::Stored);
    let mut n_answered = 0;
    for call in getting {
        match call.await.unwrap() {
            // Those that were not sent have waited for the next connection.
            Ok(item) => {
                assert_eq!(item.unwrap().value, vec![b'v'; 1000]);
                n_answered += 1;
            }
            Err(error) => {
                assert!(
                    error.is_closed() && error.is_ambiguous() && !error.is_timeout(),
                    "{error}"
                );
                assert!(!error.is_too_large() && !error.is_retryable());
                assert!(error.node().is_some_and(|node| node.starts_with("127.0.0.1:")));
            }
        }
    }
    // Of nine calls four were sent at first, and then one more for the one that was answered.
    assert!((3..=4).contains(&n_answered), "{n_answered}");
    assert!(client.get("key").await.unwrap().is_some());
    assert!(client.is_connected());
    assert!(matches!(events.try_recv(), Ok(Event::Failed { .. })));
    assert!(matches!(events.try_recv(), Ok(Event::Connected { .. })));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn a_server_that_dies_between_answers_fails_what_was_sent_at_once() {
    cut(0).await;
}

#[tokio::test]
async fn a_server_that_dies_inside_an_answer_fails_what_was_sent_at_once() {
    for cut_after in [1, 10, 20, 500, 1019, 1026] {
        cut(cut_after).await;
    }
}

/// Whoever is just about to call when the connection ends is told so too, and not left waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_dies_among_calls_of_several_threads_fails_them_all() {
    for round in 0..50 {
        let cut_after = Some(500 + 100 * round);
        let script = Script { cut_after, is_gone_then: true, ..Script::default() };
        let builder = Client::builder().timeout(LONG).queue_len(2).retry(Retry::NEVER);
        let (_server, client) = Server::start(script, builder).await;
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move {
                    loop {
                        if let Err(error) = client.get("key").await {
                            return error;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            let error = task.await.unwrap();
            assert!(error.is_closed() || error.is_connect(), "{error}");
            assert!(!error.to_string().contains("runtime"), "{error}");
        }
    }
}

/// As servers do that have no room for a client: they say so and close, and read nothing more.
#[tokio::test]
async fn what_the_server_says_before_it_goes_is_heard_while_writing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let builder = Client::builder().timeout(LONG);
    let client = text(builder).connect(path.to_str().unwrap()).await.unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    drop(listener);
    let setting = tokio::spawn({
        let client = client.clone();
        async move { client.set("a", vec![0; 5 << 20], Ttl::NEVER).await.unwrap_err() }
    });
    // Until the socket takes no more.
    turns(100).await;
    stream.write_all(b"SERVER_ERROR busy\r\n").unwrap();
    drop(stream);
    assert_eq!(setting.await.unwrap().refusal(), Some("busy"));
    assert!(client.get("a").await.unwrap_err().is_connect());
}

#[tokio::test]
async fn an_idle_client_notices_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = text(Client::builder()).connect(&address).await.unwrap();
    assert!(client.is_connected());
    drop(listener.accept().await.unwrap());
    drop(listener);
    while client.is_connected() {
        tokio::task::yield_now().await;
    }
    let error = client.set("a", "b", Ttl::NEVER).await.unwrap_err();
    // The connection that ended, or the next one that was refused.
    assert!(error.is_unsent() && error.is_retryable() && !error.is_ambiguous(), "{error}");
}

#[track_caller]
fn check_error(error: &Error, text: &str) {
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn answers_that_fit_nothing_end_the_connection() {
    let builder = Client::builder().timeout(LONG);
    let client = parrot("VALUE other 0 1\r\nx\r\nEND\r\n", builder.clone()).await;
    let error = client.get("mine").await.unwrap_err();
    assert!(error.is_closed() && !error.is_unsent());
    check_error(&error, "connection closed: answer with a key that was not asked for: other");

    let client = parrot("HTTP/1.1 400 Bad Request\r\n", builder.clone()).await;
    let error = client.get_many(["a", "b"]).await.unwrap_err();
    assert!(error.is_closed());
    check_error(&error, "connection closed: answer out of step: \"HTTP/1.1 400 Bad Request\"");

    // One answer too many is not kept for the next call.
    let client = parrot("STORED\r\nSTORED\r\n", builder.clone()).await;
    assert_eq!(client.set("a", "x", Ttl::NEVER).await.unwrap(), Stored::Stored);
    let error = client.delete("a").await.unwrap_err();
    assert!(error.is_closed() || error.is_connect(), "{error}");

    let client = parrot(vec![b'x'; 10_000], builder).await;
    let error = client.version().await.unwrap_err();
    check_error(&error, "connection closed: reply line exceeds 8192 bytes");
}

#[tokio::test]
async fn error_lines_are_the_callers_and_the_connection_goes_on() {
    for (answer, what) in [
        ("SERVER_ERROR out of memory storing object\r\n", Error::is_server_error as fn(&_) -> _),
        ("CLIENT_ERROR bad data chunk\r\n", Error::is_client_error),
        ("ERROR\r\n", Error::is_unknown_command),
    ] {
        let client = parrot(answer, Client::builder()).await;
        let error = client.set("a", "x", Ttl::NEVER).await.unwrap_err();
        assert!(what(&error) && error.is_refused() && !error.is_unsent(), "{error}");
        assert!(client.is_connected());
    }
    let client = parrot("FINE\r\n", Client::builder()).await;
    let error = client.flush_all().await.unwrap_err();
    assert!(error.is_unexpected() && !error.is_refused());
    check_error(&error, "unexpected answer: FINE");
}

#[tokio::test]
async fn an_error_after_some_items_fails_the_retrieval() {
    let answer = "VALUE a 0 1 1\r\nx\r\nSERVER_ERROR out of memory writing get response\r\n";
    let client = parrot(answer, Client::builder().timeout(LONG)).await;
    let error = client.get_many(["a", "b"]).await.unwrap_err();
    assert_eq!(error.refusal(), Some("out of memory writing get response"));
}

#[tokio::test]
async fn proxies_may_answer_in_another_order_and_without_cas_numbers() {
    let answer = "VALUE b 0 1\r\n2\r\nVALUE a 0 1\r\n1\r\nEND\r\n";
    let client = parrot(answer, Client::builder().timeout(LONG)).await;
    let many = client.get_many(["a", "b"]).await.unwrap();
    let values: Vec<_> = many.into_iter().flatten().map(|item| item.value).collect();
    assert_eq!(values, ["1", "2"]);
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = text(Client::builder()).connect(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let clone = client.clone();
    drop(client);
    assert!(clone.is_connected());
    drop(clone);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// The calls that fill it have been dropped, and nothing is answered.
#[tokio::test]
async fn the_last_handle_closes_a_connection_that_is_full() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = text(Client::builder().queue_len(1)).connect(&address).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = [0; 64];
    tokio::select! {
        _ = client.get("a") => unreachable!("nobody answers"),
        n = stream.read(&mut asked) => assert!(n.unwrap() > 0),
    }
    drop(client);
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut asked));
    assert_eq!(read.await.expect("it is closed").unwrap(), 0);
}

#[tokio::test]
async fn there_may_be_no_connection() {
    for address in ["", "host:99999", "[::1", "unix:"] {
        let error = Client::connect(address).await.unwrap_err();
        assert!(error.is_connect() && error.is_unsent() && !error.is_timeout(), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(error.is_connect() && !error.is_timeout() && !error.is_closed(), "{error}");
    assert!(Client::connect("/no/such/socket").await.unwrap_err().is_connect());
}

#[tokio::test]
async fn connecting_ends_in_time() {
    // A server that accepts nobody, and has little room for those who wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let builder = text(Client::builder()).connect_timeout(Duration::from_millis(50));
    let mut clients = Vec::new();
    let error = loop {
        match builder.connect(&address).await {
            Ok(client) => clients.push(client),
            Err(error) => break error,
        }
        assert!(clients.len() < 10, "there is room for two");
    };
    assert!(error.is_connect() && error.is_timeout() && error.is_unsent(), "{error}");
    // One that accepts, as the kernel does for it, and says nothing: a greeting tells.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = builder.protocol(Protocol::Auto).connect(&address).await.unwrap_err();
    assert!(error.is_connect() && error.is_timeout(), "{error}");
}

#[test]
fn a_client_that_outlives_its_runtime_says_so() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (_server, client) = first.block_on(crate::server::good());
    drop(first);
    let error = runtime().block_on(client.get("a")).unwrap_err();
    assert_eq!(error.to_string(), "connection closed: the runtime was shut down");
}
