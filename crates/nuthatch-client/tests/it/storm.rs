//! Everything at once: connections that are cut in the middle of answers, silence, time limits and
//! calls that are dropped, between clients of every protocol and real servers. Every answer is its
//! caller's, and nothing is done twice.
//!
//! `STORM_SEED` repeats what chance there is in one (threads have their own), `STORM_ROUNDS` has as
//! many.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use nuthatch_client::types::{Stored, Ttl};
use nuthatch_client::{Client, Ejection, Error, Protocol};
use nuthatch_testkit::Daemon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cancel::{Random, turns};
use crate::dialects::{client_of, patient, servers};

const N_TASKS: u64 = 16;
const N_CALLS: u64 = 80;
const N_READ: u64 = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_every_answer_is_its_callers_and_nothing_is_done_twice() {
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    #[expect(clippy::disallowed_methods, reason = "any number will do")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("STORM_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    for seed in first..first + number("STORM_ROUNDS").unwrap_or(1) {
        eprintln!("storm: seed {seed}");
        for server in servers() {
            let daemon = Daemon::builder(&server).start().unwrap();
            let protocols = [Protocol::Text, Protocol::Meta, Protocol::Binary];
            let n_done = join_all(protocols.map(|protocol| storm(&daemon, protocol, seed))).await;
            assert!(n_done.iter().sum::<u32>() > 60, "{n_done:?} calls of 3 clients were done");
        }
    }
}

/// Says how many changes were done and answered.
async fn storm(daemon: &Daemon, protocol: Protocol, seed: u64) -> u32 {
    // Of each change the server has what tells how often it was done.
    let calm = client_of(daemon, patient()).await;
    let changed = || (0..N_TASKS).flat_map(|task| (0..N_CALLS).map(move |n| (task, n)));
    let seeds = changed().map(|(task, n)| (key(protocol, task, n), "0"));
    let read = (0..N_READ).map(|n| (read_key(n), read_value(n)));
    for stored in calm.set_many(seeds, Ttl::NEVER).await {
        assert_eq!(stored.unwrap(), Stored::Stored);
    }
    for stored in calm.set_many(read, Ttl::NEVER).await {
        assert_eq!(stored.unwrap(), Stored::Stored);
    }

    let mut ejection = Ejection::default();
    (ejection.pause_min, ejection.pause_max) = (Duration::from_millis(1), Duration::from_millis(5));
    let builder = Client::builder()
        .protocol(protocol)
        .timeout(Duration::from_millis(30))
        .connect_timeout(Duration::from_millis(200))
        .ejection(ejection)
        .queue_len(16)
        .connections_per_node(2);
    let client = builder.connect(&proxy(daemon.port().unwrap(), seed).await).await.unwrap();
    let tasks = (0..N_TASKS).map(|task| {
        let random = Random::new((seed << 16) + task);
        tokio::spawn(calls(client.clone(), protocol, task, random))
    });
    let results: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    drop(client);
    // What is under way is at its end.
    tokio::time::sleep(Duration::from_millis(150)).await;

    let (mut n_done, mut n_unknown, mut n_unsent, mut n_dropped) = (0_u32, 0, 0, 0);
    let counts = calm.get_many(results.iter().map(|(key, _)| key)).await.unwrap();
    for ((key, result), item) in results.iter().zip(counts) {
        let n = match &item.expect("nothing is thrown out").value[..] {
            b"0" => 0,
            b"1" | b"0x" => 1,
            other => panic!("{protocol:?}: {key} was done twice: {}", other.escape_ascii()),
        };
        match result {
            Some(Ok(())) => {
                assert_eq!(n, 1, "{protocol:?}: {key} was done");
                n_done += 1;
            }
            Some(Err(error)) if error.is_ambiguous() => {
                assert!(!error.is_unsent(), "{protocol:?}: {key}: {error}");
                n_unknown += 1;
            }
            Some(Err(error)) => {
                assert!(n == 0 && error.is_unsent(), "{protocol:?}: {key} came {n} times: {error}");
                n_unsent += 1;
            }
            None => n_dropped += 1,
        }
    }
    eprintln!(
        "{protocol:?}: {n_done} done, {n_unknown} unknown, {n_unsent} not sent, {n_dropped} dropped"
    );
    n_done
}

fn key(protocol: Protocol, task: u64, n: u64) -> String {
    format!("{protocol:?}:{task}:{n}:{}", "k".repeat(len((task * 31 + n * 7) % 150)))
}

fn read_key(n: u64) -> String {
    format!("read:{n}")
}

fn read_value(n: u64) -> String {
    format!("{n}:").repeat(len(n * n + 1))
}

fn len(n: u64) -> usize {
    usize::try_from(n).expect("it is small")
}

/// One call after the other; tells of the changes. `None` is one that was dropped.
async fn calls(
    client: Client,
    protocol: Protocol,
    task: u64,
    mut random: Random,
) -> Vec<(String, Option<Result<(), Error>>)> {
    let mut results = Vec::new();
    for n in 0..N_CALLS {
        let key = key(protocol, task, n);
        let (what, first) = (random.below(4), random.below(N_READ - 3));
        let call = async {
            match what {
                0 => {
                    let item = client.get(read_key(first)).await?.expect("all are there");
                    assert!(item.value == read_value(first), "an answer of another's");
                }
                1 => {
                    let items = client.get_many((first..first + 3).map(read_key)).await?;
                    for (n, item) in (first..).zip(items) {
                        let item = item.expect("all are there");
                        assert!(item.value == read_value(n), "an answer of another's");
                    }
                }
                2 => assert_eq!(client.incr(&key, 1).await?, Some(1)),
                _ => assert_eq!(client.append(&key, "x").await?, Stored::Stored),
            }
            Ok(())
        };
        let n_turns = if random.below(3) == 0 { random.below(12) } else { u64::MAX };
        let result = tokio::select! {
            biased;
            result = call => Some(result),
            () = turns(n_turns) => None,
        };
        if what > 1 {
            results.push((key, result));
        }
        // While there is no connection calls fail at once; not all are to be made by then.
        if results.last().is_some_and(|(_, result)| matches!(result, Some(Err(_)))) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Calls that are alone come between those that are not.
        if random.below(8) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        }
    }
    results
}

/// The way to a server, over which a connection lasts for some bytes of answers.
async fn proxy(port: u16, seed: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for n in 1.. {
            let (stream, _) = listener.accept().await.unwrap();
            let random = Random::new((seed << 16) + N_TASKS + n);
            tokio::spawn(carry(stream, port, random));
        }
    });
    address
}

async fn carry(mut client: TcpStream, port: u16, mut random: Random) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((mut asked, mut to_client), (mut answered, mut to_server)) =
        (client.split(), server.split());
    let carry_answers = async {
        let mut left = 200 + random.below(40_000);
        let mut piece = [0; 2048];
        while left > 0 {
            let at_most = len(random.below(left.min(2048)) + 1);
            let n = answered.read(&mut piece[..at_most]).await?;
            if n == 0 {
                break;
            }
            if random.below(20) == 0 {
                tokio::time::sleep(Duration::from_millis(random.below(60))).await;
            }
            to_client.write_all(&piece[..n]).await?;
            left -= n as u64;
        }
        io::Result::Ok(())
    };
    tokio::select! {
        done = tokio::io::copy(&mut asked, &mut to_server) => done.map(drop),
        done = carry_answers => done,
    }
}
