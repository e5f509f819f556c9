//! Values computed once for all who ask, at a real server: Debian's memcached, or what the variable
//! `NUTHATCHD` names.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nuthatch_client::types::{ItemFlags, Ttl};
use nuthatch_client::values::{Number, Raw, Text};
use nuthatch_client::{Bytes, Client, Protocol, StoreOptions, Typed, ValueError};
use nuthatch_testkit::{Daemon, find_program};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use crate::LONG;

fn server() -> Option<Daemon> {
    let server = std::env::var_os("NUTHATCHD").map(PathBuf::from);
    let Some(server) = server.or_else(|| find_program("memcached")) else {
        eprintln!("skipped: no memcached is installed");
        return None;
    };
    Some(Daemon::builder(server).start().unwrap())
}

/// Another process, as far as the server can tell.
async fn client(daemon: &Daemon) -> Client {
    let address = format!("127.0.0.1:{}", daemon.port().unwrap());
    Client::builder().timeout(LONG).connect(&address).await.unwrap()
}

async fn texts(daemon: &Daemon) -> Typed<Text> {
    client(daemon).await.typed(Text).ttl(Ttl::secs(600)).patience(LONG)
}

/// What computing comes to.
type Made = Ready<Result<String, Infallible>>;

fn text(value: &str) -> Made {
    ready(Ok(value.to_owned()))
}

fn never() -> Made {
    panic!("computed though there is a value")
}

/// A computation that waits: told when it has begun, and ended by hand.
struct Slow {
    begun: oneshot::Receiver<()>,
    end: Arc<Notify>,
    outcome: tokio::task::JoinHandle<Result<String, ValueError<Infallible>>>,
}

fn slow(texts: &Typed<Text>, value: &'static str) -> Slow {
    let (begin, begun) = oneshot::channel();
    let end = Arc::new(Notify::new());
    let (texts, ended) = (texts.clone(), Arc::clone(&end));
    let outcome = tokio::spawn(async move {
        let make = async || {
            begin.send(()).unwrap();
            ended.notified().await;
            text(value).await
        };
        texts.get_or_compute("k", make).await
    });
    Slow { begun, end, outcome }
}

#[tokio::test]
async fn many_tasks_of_two_processes_compute_once() {
    let Some(daemon) = server() else { return };
    let processes = [texts(&daemon).await, texts(&daemon).await];
    let n_computed = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for i in 0..100 {
        let (texts, n_computed) = (processes[i % 2].clone(), Arc::clone(&n_computed));
        tasks.spawn(async move {
            let make = async || {
                n_computed.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                text("made").await
            };
            texts.get_or_compute("k", make).await.unwrap()
        });
    }
    assert!(tasks.join_all().await.iter().all(|value| value == "made"));
    assert_eq!(n_computed.load(Ordering::Relaxed), 1);
    assert_eq!(processes[0].get("k").await.unwrap().as_deref(), Some("made"));
}

#[tokio::test]
async fn an_old_value_serves_while_one_makes_it_anew() {
    let Some(daemon) = server() else { return };
    let (here, there) = (texts(&daemon).await, texts(&daemon).await);
    here.set("k", &"old".to_owned()).await.unwrap();
    assert!(here.invalidate("k", Ttl::secs(60)).await.unwrap());
    let maker = slow(&here, "new");
    maker.begun.await.unwrap();
    assert_eq!(there.get_or_compute("k", never).await.unwrap(), "old");
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "new");
    assert_eq!(there.get_or_compute("k", never).await.unwrap(), "new");
    assert!(!there.invalidate("none", Ttl::secs(60)).await.unwrap());
}

#[tokio::test]
async fn values_are_made_anew_ahead_of_their_end() {
    let Some(daemon) = server() else { return };
    // What has 600 seconds to live is always in its last 1000.
    let here = texts(&daemon).await.refresh_ahead(Ttl::secs(1000));
    let there = texts(&daemon).await.refresh_ahead(Ttl::secs(1000));
    assert_eq!(here.get_or_compute("k", || text("first")).await.unwrap(), "first");
    let maker = slow(&here, "second");
    maker.begun.await.unwrap();
    assert_eq!(there.get_or_compute("k", never).await.unwrap(), "first");
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "second");
    assert_eq!(there.get("k").await.unwrap().as_deref(), Some("second"));
}

#[tokio::test]
async fn a_lease_is_given_back_by_who_fails_and_by_who_is_dropped() {
    let Some(daemon) = server() else { return };
    let (here, there) = (texts(&daemon).await, texts(&daemon).await);
    let fails = || async { Err::<String, _>("no") };
    let error = here.get_or_compute("k", fails).await.unwrap_err();
    assert!(matches!(error, ValueError::Compute("no")), "{error}");
    // The lease would last 30 seconds, longer than anybody here waits.
    assert_eq!(there.get_or_compute("k", || text("other")).await.unwrap(), "other");

    here.cache().delete("k").await.unwrap();
    let maker = slow(&here, "never");
    maker.begun.await.unwrap();
    maker.outcome.abort();
    assert_eq!(there.get_or_compute("k", || text("next")).await.unwrap(), "next");

    // With an old value the next who asks wins, and nobody is without it.
    here.invalidate("k", Ttl::secs(60)).await.unwrap();
    here.get_or_compute("k", fails).await.unwrap_err();
    loop {
        match there.get_or_compute("k", || text("newest")).await.unwrap().as_str() {
            "newest" => break,
            value => assert_eq!(value, "next"),
        }
    }
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_not_overwritten() {
    let Some(daemon) = server() else { return };
    let (here, there) = (texts(&daemon).await, texts(&daemon).await);
    let maker = slow(&here, "late");
    maker.begun.await.unwrap();
    there.set("k", &"newer".to_owned()).await.unwrap();
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "late");
    assert_eq!(there.get("k").await.unwrap().as_deref(), Some("newer"));
}

#[tokio::test]
async fn whoever_waits_too_long_computes() {
    let Some(daemon) = server() else { return };
    let (here, there) = (texts(&daemon).await, texts(&daemon).await);
    let maker = slow(&here, "late");
    maker.begun.await.unwrap();
    let there = there.patience(Duration::from_millis(30));
    assert_eq!(there.get_or_compute("k", || text("own")).await.unwrap(), "own");
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "late");
    assert_eq!(there.get("k").await.unwrap().as_deref(), Some("own"));
}

/// Two that make the same value, the second for want of patience with the first.
async fn two_at_once(texts: &Typed<Text>) -> [Slow; 2] {
    let mut first = slow(texts, "first");
    (&mut first.begun).await.unwrap();
    let mut second = slow(texts, "second");
    (&mut second.begun).await.unwrap();
    [first, second]
}

/// One that hangs, as far as anybody can tell, holds nobody up for longer than they will wait.
#[tokio::test]
async fn whoever_waits_too_long_for_a_neighbour_computes() {
    let Some(daemon) = server() else { return };
    let texts = texts(&daemon).await.patience(Duration::from_millis(30));
    let [first, second] = two_at_once(&texts).await;
    // Nobody loses patience with both from here on, and all have what the second makes.
    let waiting = texts.clone().patience(LONG);
    let mut waits: JoinSet<_> = (0..10)
        .map(|_| {
            let texts = waiting.clone();
            async move { texts.get_or_compute("k", never).await }
        })
        .collect();
    second.end.notify_one();
    assert_eq!(second.outcome.await.unwrap().unwrap(), "second");
    while let Some(value) = waits.join_next().await {
        assert_eq!(value.unwrap().unwrap(), "second");
    }
    // The lease was the first one's, but is the second one's value.
    first.end.notify_one();
    assert_eq!(first.outcome.await.unwrap().unwrap(), "first");
    assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("second"));
    assert_eq!(texts.get_or_compute("k", never).await.unwrap(), "second");
}

#[tokio::test]
async fn what_was_deleted_is_not_stored_by_the_impatient_either() {
    let Some(daemon) = server() else { return };
    let texts = texts(&daemon).await.patience(Duration::from_millis(30));
    let [first, second] = two_at_once(&texts).await;
    texts.cache().delete("k").await.unwrap();
    for maker in [second.end, first.end] {
        maker.notify_one();
    }
    assert_eq!(second.outcome.await.unwrap().unwrap(), "second");
    assert_eq!(first.outcome.await.unwrap().unwrap(), "first");
    assert_eq!(texts.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn neighbours_have_the_old_value_too_while_one_makes_it_anew() {
    let Some(daemon) = server() else { return };
    let texts = texts(&daemon).await;
    texts.set("k", &"old".to_owned()).await.unwrap();
    texts.invalidate("k", Ttl::secs(60)).await.unwrap();
    let maker = slow(&texts, "new");
    maker.begun.await.unwrap();
    for _ in 0..3 {
        assert_eq!(texts.get_or_compute("k", never).await.unwrap(), "old");
    }
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "new");
    assert_eq!(texts.get_or_compute("k", never).await.unwrap(), "new");
}

#[tokio::test]
async fn empty_values_are_values_and_leases_are_none() {
    let Some(daemon) = server() else { return };
    let cache = client(&daemon).await;
    let raw = cache.typed(Raw);
    let empty = || async { Ok::<_, Infallible>(Bytes::new()) };
    assert_eq!(raw.get_or_compute("k", empty).await.unwrap(), "");
    let never = || async { Err("computed though there is a value") };
    assert_eq!(raw.get_or_compute("k", never).await.unwrap(), "");
    assert_eq!(raw.get("k").await.unwrap(), Some(Bytes::new()));
    // Another client's.
    cache.set("k", "", Ttl::NEVER).await.unwrap();
    assert_eq!(raw.get("k").await.unwrap(), None);
    assert_eq!(
        raw.get_or_compute("k", || async { Ok::<_, Infallible>("x".into()) }).await.unwrap(),
        "x"
    );
}

#[tokio::test]
async fn a_value_of_another_codec_is_replaced() {
    let Some(daemon) = server() else { return };
    let texts = texts(&daemon).await;
    let other = StoreOptions::new().flags(ItemFlags(0xdead));
    texts.cache().set("k", "?", other).await.unwrap();
    assert!(matches!(texts.get("k").await, Err(ValueError::Codec(_))));
    assert_eq!(texts.get_or_compute("k", || text("new")).await.unwrap(), "new");
    assert_eq!(texts.get("k").await.unwrap().as_deref(), Some("new"));
}

#[tokio::test]
async fn updates_of_many_all_count() {
    let Some(daemon) = server() else { return };
    let numbers = client(&daemon).await.typed(Number);
    let mut tasks = JoinSet::new();
    for _ in 0..5 {
        let numbers = numbers.clone();
        tasks.spawn(async move {
            for _ in 0..10 {
                numbers.update("n", |old| old.unwrap_or_default() + 1).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(numbers.get("n").await.unwrap(), Some(50));
    assert!(!numbers.refill("n", &7).await.unwrap());
    assert!(numbers.refill("m", &7).await.unwrap());
    assert_eq!(numbers.get("m").await.unwrap(), Some(7));
}

#[tokio::test]
async fn without_meta_commands_tasks_of_one_process_share() {
    let Some(daemon) = server() else { return };
    let address = format!("127.0.0.1:{}", daemon.port().unwrap());
    let binary = Client::builder().timeout(LONG).protocol(Protocol::Binary);
    let texts = binary.connect(&address).await.unwrap().typed(Text);
    let maker = slow(&texts, "made");
    maker.begun.await.unwrap();
    let waits = {
        let texts = texts.clone();
        async move { texts.get_or_compute("k", never).await }
    };
    let waits = tokio::spawn(waits);
    maker.end.notify_one();
    assert_eq!(maker.outcome.await.unwrap().unwrap(), "made");
    assert_eq!(waits.await.unwrap().unwrap(), "made");
    assert!(texts.invalidate("k", Ttl::secs(60)).await.unwrap());
    assert_eq!(texts.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn without_a_cache_there_are_still_values() {
    let Some(daemon) = server() else { return };
    let texts = texts(&daemon).await;
    texts.set("k", &"kept".to_owned()).await.unwrap();
    drop(daemon);
    assert_eq!(texts.get_or_compute("k", || text("made")).await.unwrap(), "made");
    assert!(matches!(texts.get("k").await, Err(ValueError::Cache(_))));
    let error = texts.get_or_compute("a b", never).await.unwrap_err();
    assert!(matches!(error, ValueError::Cache(error) if error.is_key()));
}
