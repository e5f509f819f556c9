//! Calls that are dropped, and calls whose time is up.

use std::pin::pin;
use std::time::Duration;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Bytes, Client};

use crate::LONG;
use crate::server::{Script, Server, good};

/// Short enough not to be waited for, and long enough that a server which answers does so.
const SHORT: Duration = Duration::from_millis(250);

#[tokio::test]
async fn the_answer_to_a_dropped_call_goes_to_nobody() {
    let (mut server, client) = Server::start(Script::SHUT, Client::builder().timeout(LONG)).await;
    let setting = tokio::spawn({
        let client = client.clone();
        async move { client.set("a", "of a", Ttl::NEVER).await }
    });
    server.has_seen(1).await;
    for (n, key) in ["a", "b", "a"].into_iter().enumerate() {
        let getting = tokio::spawn({
            let client = client.clone();
            async move { client.get(key).await }
        });
        // It is with the server; its answer will come.
        server.has_seen(2 + n).await;
        getting.abort();
        assert!(getting.await.unwrap_err().is_cancelled());
    }
    server.open();
    setting.await.unwrap().unwrap();
    assert_eq!(client.get("b").await.unwrap(), None);
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "of a");
    assert_eq!(server.n_seen(), 6);
}

#[tokio::test]
async fn a_call_dropped_in_the_queue_is_never_sent() {
    let builder = Client::builder().timeout(LONG).queue_len(1);
    let (mut server, client) = Server::start(Script::SHUT, builder).await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.get("first").await }
    });
    server.has_seen(1).await;
    {
        // One takes the place in the queue, one waits before it.
        let mut queued = pin!(client.set("x", "queued", Ttl::NEVER));
        let mut waiting = pin!(client.set("x", "waiting", Ttl::NEVER));
        tokio::select! {
            biased;
            _ = &mut queued => unreachable!("the server is shut"),
            _ = &mut waiting => unreachable!("the server is shut"),
            () = tokio::task::yield_now() => {}
        }
    }
    server.open();
    assert_eq!(first.await.unwrap().unwrap(), None);
    assert_eq!(client.get("x").await.unwrap(), None);
    assert_eq!(server.n_seen(), 2);
}

/// The test that a client which confuses answers does not pass: calls are dropped at every stage,
/// and every answer that is heard must be its caller's own.
#[tokio::test]
async fn calls_dropped_at_random_confuse_nobody() {
    drop_at_random().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_dropped_at_random_on_several_threads_confuse_nobody() {
    drop_at_random().await;
}

async fn drop_at_random() {
    let (server, client) = good().await;
    let n_heard = drop_calls_at_random(&client).await;
    let n_set = 20 * 8;
    assert!(server.n_seen() > n_set + n_heard, "some answers were to nobody");
    assert!(client.is_connected());
}

/// Says how many calls were not dropped.
pub(crate) async fn drop_calls_at_random(client: &Client) -> usize {
    let mut tasks = Vec::new();
    for task in 0..20_u64 {
        let client = client.clone();
        tasks.push(tokio::spawn(async move {
            let mut random = Random(task + 1);
            let own = |n: u64| format!("{task}:{n}:{}", "v".repeat((n * 977 % 20_000) as usize));
            for n in 0..8 {
                client.set(format!("{task}:{n}"), own(n), Ttl::NEVER).await.unwrap();
            }
            let (mut n_heard, mut n_dropped) = (0, 0);
            for _ in 0..300 {
                let n = random.below(8);
                let n_turns = if random.below(4) == 0 { u64::MAX } else { random.below(12) };
                let keys = [format!("{task}:{n}"), format!("{task}:{}", (n + 1) % 8)];
                let is_single = random.below(2) == 0;
                let call = async {
                    if is_single {
                        vec![client.get(&keys[0]).await.unwrap()]
                    } else {
                        client.get_many(&keys).await.unwrap()
                    }
                };
                tokio::select! {
                    biased;
                    items = call => {
                        for (item, n) in items.into_iter().zip([n, (n + 1) % 8]) {
                            assert_eq!(item.unwrap().value, own(n));
                        }
                        n_heard += 1;
                    }
                    () = turns(n_turns) => n_dropped += 1,
                }
            }
            (n_heard, n_dropped)
        }));
    }
    let (mut n_heard, mut n_dropped) = (0, 0);
    for task in tasks {
        let (heard, dropped) = task.await.unwrap();
        n_heard += heard;
        n_dropped += dropped;
    }
    assert!(n_heard > 100 && n_dropped > 100, "{n_heard} heard, {n_dropped} dropped");
    n_heard
}

#[tokio::test]
async fn a_call_to_a_slow_server_ends_in_time_and_the_next_one_is_answered() {
    let (mut server, client) = Server::start(Script::SHUT, Client::builder().timeout(SHORT)).await;
    let error = client.set("a", "late", Ttl::NEVER).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_unsent() && !error.is_closed() && !error.is_connect());
    assert_eq!(error.to_string(), "no answer in time");
    server.has_seen(1).await;
    server.open();
    // The first answer, to nobody, comes before this one.
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "late");
}

#[tokio::test]
async fn waiting_for_a_place_counts() {
    let builder = Client::builder().timeout(SHORT).queue_len(1);
    let (server, client) = Server::start(Script::SHUT, builder).await;
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.incr("n", 1).await.unwrap_err() })
        })
        .collect();
    let mut n_unsent = 0;
    for call in calls {
        let error = call.await.unwrap();
        assert!(error.is_timeout(), "{error}");
        n_unsent += usize::from(error.is_unsent());
    }
    // One was sent, one was in the queue.
    assert_eq!(n_unsent, 2);
    server.open();
    assert_eq!(client.incr("n", 1).await.unwrap(), None);
    assert_eq!(server.n_seen(), 2, "what was in the queue was not sent any more");
}

#[tokio::test]
async fn a_value_half_sent_by_a_dropped_call_is_sent_to_its_end() {
    let (_server, client) = good().await;
    let value = Bytes::from(vec![1; 5 << 20]);
    tokio::select! {
        biased;
        _ = client.set("a", value.clone(), Ttl::NEVER) => panic!("it takes more turns than one"),
        // The connection's task begins to write.
        () = turns(3) => {}
    }
    assert!(client.get("a").await.unwrap().unwrap().value == value);
}

pub(crate) async fn turns(n: u64) {
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
}

/// Numbers that look like chance and are the same every time (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// Seeds that are near each other make numbers that are not.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
