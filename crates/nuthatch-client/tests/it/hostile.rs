//! Servers that mean harm, or do it: whatever they say, nobody hears what was another's, nothing
//! grows without bound and nothing waits for ever.

use std::sync::Arc;
use std::time::Duration;

use nuthatch_client::types::{Cas, Ttl};
use nuthatch_client::{CallReport, Client, Observer, Protocol, Retry};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::LONG;
use crate::server::{Script, Server, good, text};

/// A server that answers what it reads at a time with what it is told, on every connection; nothing
/// where it is told nothing.
async fn told(say: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let say = Arc::new(say);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let say = Arc::clone(&say);
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    match stream.read(&mut buffer).await {
                        Err(_) | Ok(0) => return,
                        Ok(n) if stream.write_all(&say(&buffer[..n])).await.is_err() => return,
                        Ok(_) => {}
                    }
                }
            });
        }
    });
    address
}

/// A retrieval by meta commands whose end is refused must not leave its items to the next one.
#[tokio::test]
async fn what_a_refused_batch_has_found_is_nobodys() {
    let address = told(|asked| {
        if asked.starts_with(b"mg YSAx") {
            // "a 1" and "a 2", each with its value; then no `MN`.
            b"VA 6 b kYSAx f0 c1 O0\r\nsecret\r\nVA 6 b kYSAy f0 c1 O1\r\nsecret\r\nERROR\r\n"
                .to_vec()
        } else {
            b"MN\r\n".to_vec()
        }
    })
    .await;
    let builder = Client::builder().timeout(LONG).protocol(Protocol::Meta).any_keys();
    let client = builder.connect(&address).await.unwrap();
    let error = client.get_many(["a 1", "a 2"]).await.unwrap_err();
    assert!(error.is_unknown_command(), "{error}");
    assert_eq!(client.get_many(["b 1"]).await.unwrap(), [None]);
}

/// The answer to a frame of the binary protocol.
fn frame(asked: &[u8], status: u16, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let body_len = extras.len() + key.len() + value.len();
    let mut answer = vec![0x81, asked[1]];
    answer.extend_from_slice(&u16::try_from(key.len()).unwrap().to_be_bytes());
    answer.extend_from_slice(&[u8::try_from(extras.len()).unwrap(), 0]);
    answer.extend_from_slice(&status.to_be_bytes());
    answer.extend_from_slice(&u32::try_from(body_len).unwrap().to_be_bytes());
    answer.extend_from_slice(&asked[12..16]);
    answer.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9]);
    [&answer, extras, key, value].concat()
}

/// The frames of what was read.
fn frames(mut asked: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while asked.len() >= 24 {
        let body_len = u32::from_be_bytes(asked[8..12].try_into().unwrap()) as usize;
        let (frame, rest) = asked.split_at(24 + body_len);
        frames.push(frame);
        asked = rest;
    }
    frames
}

#[tokio::test]
async fn what_a_refused_binary_batch_has_found_is_nobodys() {
    const NOOP: u8 = 0x0a;
    const BUSY: u16 = 0x85;
    let address = told(|asked| {
        let asked = frames(asked);
        let is_first = asked[0].ends_with(b"a1");
        let answer = |frame: &&[u8]| match (frame[1], is_first) {
            (NOOP, true) => self::frame(frame, BUSY, b"", b"", b"Temporary failure"),
            (NOOP, false) => self::frame(frame, 0, b"", b"", b""),
            (_, true) => self::frame(frame, 0, &[0; 4], &frame[24..], b"secret"),
            (_, false) => Vec::new(),
        };
        asked.iter().flat_map(answer).collect()
    })
    .await;
    let builder = Client::builder().timeout(LONG).protocol(Protocol::Binary);
    let client = builder.connect(&address).await.unwrap();
    let error = client.get_many(["a1", "a2"]).await.unwrap_err();
    assert!(error.is_server_error(), "{error}");
    assert_eq!(client.get_many(["b1"]).await.unwrap(), [None]);
}

/// A binary store with the number 0 compares with nothing.
#[tokio::test]
async fn no_number_is_no_condition() {
    for server in crate::dialects::servers() {
        let daemon = nuthatch_testkit::Daemon::builder(&server).start().unwrap();
        for protocol in [Protocol::Meta, Protocol::Text, Protocol::Binary] {
            let builder = Client::builder().timeout(LONG).protocol(protocol);
            let client = crate::dialects::client_of(&daemon, builder).await;
            client.set("a", "own", Ttl::NEVER).await.unwrap();
            let _ = client.cas("a", Cas(0), "overwritten", Ttl::NEVER).await;
            let _ = client.delete_cas("a", Cas(0)).await;
            let item = client.get("a").await.unwrap();
            assert_eq!(item.unwrap().value, "own", "{protocol:?} {}", server.display());
        }
    }
}

#[tokio::test]
async fn statistics_without_end_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let _ = stream.read(&mut [0; 1024]).await.unwrap();
        let line = format!("STAT name {}\r\n", "x".repeat(8000)).repeat(100);
        let mut n_sent = 0_usize;
        while n_sent < 200 << 20 && stream.write_all(line.as_bytes()).await.is_ok() {
            n_sent += line.len();
        }
        n_sent
    });
    let builder = text(Client::builder().timeout(LONG));
    let client = builder.connect(&address).await.unwrap();
    let error = client.stats().await.unwrap_err();
    assert!(error.is_closed() && error.is_too_large(), "{error}");
    assert!(server.await.unwrap() < 100 << 20);
}

#[tokio::test]
async fn an_odd_answer_is_not_shown_at_length() {
    let value = "x".repeat(1 << 20);
    let address = told(move |_| format!("VA {} N\r\n{value}\r\n", value.len()).into_bytes()).await;
    let builder = Client::builder().timeout(LONG).protocol(Protocol::Meta);
    let client = builder.connect(&address).await.unwrap();
    let error = client.meta_count("n", nuthatch_client::MetaCount::incr(1)).await.unwrap_err();
    assert!(error.is_unexpected(), "{error}");
    assert!(error.to_string().len() < 1000, "{}", error.to_string().len());
}

/// Counting from a number takes a classic server several commands, and still one time limit.
#[tokio::test]
async fn what_takes_several_commands_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let answer: &[u8] =
                if buffer[..n].starts_with(b"incr") { b"NOT_FOUND\r\n" } else { b"NOT_STORED\r\n" };
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    });
    let timeout = Duration::from_millis(250);
    let client = text(Client::builder().timeout(timeout)).connect(&address).await.unwrap();
    let begun = Instant::now();
    let error = client.incr_from("n", 1, 0, Ttl::NEVER).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(begun.elapsed() < 2 * timeout, "{:?}", begun.elapsed());
}

/// A server found to speak binary that is a text server the next time, and waits for the end of the
/// line.
#[tokio::test]
async fn another_protocol_is_found_out_also_where_the_server_is_silent() {
    let is_binary = Arc::new(Mutex::new(true));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mode = Arc::clone(&is_binary);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mode = Arc::clone(&mode);
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    let asked = &buffer[..n];
                    let is_frame = asked[0] == 0x80;
                    let answer = match (*mode.lock(), is_frame) {
                        (true, false) => return,
                        (true, true) if asked.ends_with(b"bye") => return,
                        (true, true) => frame(&asked[..24], 0, b"", b"", b""),
                        // No line yet.
                        (false, true) => continue,
                        (false, false) if asked == b"version\r\n" => b"VERSION 1\r\n".to_vec(),
                        (false, false) if asked == b"mn\r\n" => b"MN\r\n".to_vec(),
                        (false, false) => b"EN\r\n".to_vec(),
                    };
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let builder = Client::builder()
        .timeout(Duration::from_millis(200))
        .connect_timeout(Duration::from_millis(200))
        .retry(Retry::NEVER);
    let client = builder.connect(&address).await.unwrap();
    *is_binary.lock() = false;
    *is_binary.lock() = true;
    let _ = client.delete("bye").await;
    *is_binary.lock() = false;
    let until = Instant::now() + Duration::from_secs(5);
    while client.get("a").await.is_err() {
        assert!(Instant::now() < until, "it is never found out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client that nobody has any more does not go on connecting.
#[tokio::test]
async fn who_gives_up_connecting_leaves_nothing_behind() {
    // It accepts, as the kernel does for it, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let runtime = tokio::runtime::Handle::current();
    let n_before = runtime.metrics().num_alive_tasks();
    let builder = Client::builder().connect_timeout(Duration::from_secs(3600));
    let connecting = builder.connect(&address);
    assert!(tokio::time::timeout(Duration::from_millis(100), connecting).await.is_err());
    let until = Instant::now() + Duration::from_secs(2);
    while runtime.metrics().num_alive_tasks() > n_before {
        assert!(Instant::now() < until, "a task goes on connecting");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
}

/// Of each call its name, how often it was tried again, whether it failed, and how long it took.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<Report>>>);

type Report = (&'static str, u32, bool, Duration);

impl Observer for Reports {
    fn call(&self, call: &CallReport<'_>) {
        let report = (call.operation, call.n_retries, call.error.is_some(), call.elapsed);
        self.0.lock().push(report);
    }
}

/// What is tried again is told of once, when it is over, with all the time it took.
#[tokio::test]
async fn a_batch_that_is_tried_again_is_told_of_once() {
    for is_batch in [false, true] {
        let script = Script { cut_after: Some(1), ..Script::default() };
        let reports = Reports::default();
        let mut retry = Retry::default();
        retry.pause = Duration::from_millis(50);
        let builder = Client::builder().timeout(LONG).retry(retry).observer(reports.clone());
        let (_server, client) = Server::start(script, builder).await;
        if is_batch {
            client.get_many(["a", "b"]).await.unwrap();
        } else {
            client.get("a").await.unwrap();
        }
        let reports = std::mem::take(&mut *reports.0.lock());
        let [(_, 1..=2, false, elapsed)] = reports[..] else { panic!("{reports:?}") };
        assert!(elapsed >= Duration::from_millis(50), "{elapsed:?}");
    }
}

/// Commands that are not one line in and one line out would leave the connection out of step.
#[tokio::test]
async fn commands_of_other_forms_are_not_sent() {
    let (server, client) = good().await;
    let node = client.nodes().remove(0);
    for line in [
        "",
        "get a",
        "gets a",
        "gat 0 a",
        "gats 0 a",
        "mg a v",
        "ms a 1",
        "md a q",
        "ma a q",
        "me a",
        "mn",
        "set a 0 0 1",
        "add a 0 0 1",
        "replace a 0 0 1",
        "append a 0 0 1",
        "prepend a 0 0 1",
        "cas a 0 0 1 1",
        "delete a noreply",
        "flush_all noreply",
        "stats",
        "stats items",
        "watch",
        "watch fetchers",
        "lru_crawler metadump all",
        "lru_crawler mgdump all",
        "quit",
        "config get cluster",
        "config set a 0 1",
        " get a",
    ] {
        let error = node.command(line).await.unwrap_err();
        assert!(error.is_unsupported() || error.is_key(), "{line}: {error}");
        assert!(error.is_unsent(), "{line}: {error}");
    }
    assert_eq!(server.n_seen(), 0);
    node.command("flush_all").await.unwrap();
}

#[test]
fn a_password_is_in_no_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for url in [
        "memcached://sam:hun?ter2@cache:1",
        "memcached://sam:hun?timeout=ter2@cache:1",
        "memcached://sam:hunter2@cache:99999",
        "memcached://sam:hunter2%ff@cache",
        "memcached+x://sam:hunter2@cache",
        "memcached://sam:hunter2@cache?nothing",
        "redis://sam:hunter2@cache",
        "sam:hunter2@cache:1",
    ] {
        let error = runtime.block_on(Client::connect(url)).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("ter2"), "{url}: {shown}");
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_carried_fails_alone() {
    for server in crate::dialects::servers() {
        let daemon = nuthatch_testkit::Daemon::builder(&server).start().unwrap();
        for protocol in [Protocol::Meta, Protocol::Text, Protocol::Binary] {
            let builder = Client::builder().timeout(LONG).protocol(protocol).any_keys();
            let client = crate::dialects::client_of(&daemon, builder).await;
            client.set("good", "own", Ttl::NEVER).await.unwrap();
            let long = format!("a {}", "b".repeat(200));
            let each = client.get_each(["a b", "good", &long, "none"]).await;
            let is_key = |at: usize| each[at].as_ref().is_err_and(nuthatch_client::Error::is_key);
            assert_eq!(is_key(0), protocol == Protocol::Text, "{:?}", each[0]);
            assert_eq!(is_key(2), protocol != Protocol::Binary, "{:?}", each[2]);
            assert_eq!(each[1].as_ref().unwrap().as_ref().unwrap().value, "own");
            assert_eq!(each[3].as_ref().unwrap(), &None);
        }
    }
}
