//! Requests per second of the client's CPU time, each client with one connection to one server.
//!
//! | load | what |
//! |---|---|
//! | `one` | one task that gets one key after the other |
//! | `pipeline` | one task with 50 gets under way |
//! | `tasks` | 50 tasks that share the client, each as in `one`; clients that cannot be shared are behind a lock |
//! | `multi` | one task that gets 100 keys at a time; each key counts |
//!
//! Every measurement is a process of its own that counts its own CPU time, in the kernel too, so
//! that it matters little what else the machine does. The server's is not counted.
//!
//! [`count`] has callgrind count instructions instead: those of the process alone, without the
//! kernel's, but to the last one.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_memcached::AsciiProtocol as _;
use futures_util::future::join_all;
use nuthatch_client::Client;
use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::Result;
use crate::pick::callgrind;
use crate::server::{Server, keys};

/// Measures all clients, five times each, in turns; prints the medians.
pub(crate) fn run(program: Option<&str>) -> Result<()> {
    let server = Server::start(program.unwrap_or("memcached"))?;
    server.fill()?;
    let libmemcached = build_libmemcached();
    println!("| load | client | requests per CPU second | per second |\n|---|---|--:|--:|");
    for (load, clients) in LOADS {
        let mut rows = vec![Vec::new(); clients.len()];
        for _ in 0..N_TURNS {
            for (client, runs) in clients.iter().zip(&mut rows) {
                let Some(program) = program_of(client, libmemcached.as_deref())? else { continue };
                let mut command = Command::new(&program[0]);
                command.args(&program[1..]).args([load, &*server.port.to_string(), "0"]);
                let output = command.output()?;
                if !output.status.success() {
                    let text = String::from_utf8_lossy(&output.stderr).into_owned();
                    return Err(format!("{client}, {load}: {text}").into());
                }
                let text = String::from_utf8(output.stdout)?;
                let figures: Vec<f64> =
                    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
                let [n, cpu, wall] = figures[..] else { return Err(text.into()) };
                runs.push((n / cpu * 1e9, n / wall * 1e9));
            }
        }
        for (client, mut runs) in clients.iter().zip(rows) {
            runs.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((per_cpu, per_wall)) = runs.get(runs.len() / 2) {
                println!("| {load} | {client} | {per_cpu:.0} | {per_wall:.0} |");
            }
        }
    }
    Ok(())
}

/// Counts the instructions of a request: the difference between a run and one twice as long.
pub(crate) fn count(program: Option<&str>) -> Result<()> {
    let server = Server::start(program.unwrap_or("memcached"))?;
    server.fill()?;
    let libmemcached = build_libmemcached();
    println!("| load | client | instructions per request |\n|---|---|--:|");
    for (load, clients) in LOADS {
        for client in *clients {
            let Some(program) = program_of(client, libmemcached.as_deref())? else { continue };
            let run = |n_rounds: usize| -> Result<(f64, f64)> {
                let port = server.port.to_string();
                let args = [load, &*port, &n_rounds.to_string()];
                let (collected, text) = callgrind(&[&*program, &args.map(str::to_owned)].concat())?;
                let done = text.split_ascii_whitespace().next().unwrap_or_default();
                Ok((collected, done.parse()?))
            };
            let (short, long) = (run(COUNTED_ROUNDS)?, run(2 * COUNTED_ROUNDS)?);
            println!("| {load} | {client} | {:.0} |", (long.0 - short.0) / (long.1 - short.1));
        }
    }
    Ok(())
}

/// What runs one client, without the last arguments: load, port and rounds.
fn program_of(client: &str, libmemcached: Option<&Path>) -> Result<Option<Vec<String>>> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    if client == "libmemcached" {
        return Ok(libmemcached.map(|path| vec![text(path)]));
    }
    let own = text(&std::env::current_exe()?);
    Ok(Some([own.as_str(), "child", "peers", client].map(str::to_owned).to_vec()))
}

/// Compiles the part in C where libmemcached's headers are (Debian: libmemcached-dev).
fn build_libmemcached() -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/libmemcached.c");
    let program = std::env::temp_dir().join("nuthatch-bench-libmemcached");
    let mut build = Command::new("cc");
    build.arg("-O2").arg(source).arg("-o").arg(&program).arg("-lmemcached");
    let is_built = build.output().is_ok_and(|output| output.status.success());
    if !is_built {
        eprintln!("skipped: libmemcached (its headers and a C compiler are needed)");
    }
    is_built.then_some(program)
}

/// In a child: one client under one load, for so many rounds or, if that is 0, for [`RUN`]. Prints
/// requests, CPU and wall time in nanoseconds.
pub(crate) fn measure(client: &str, load: &str, port: u16, n_rounds: usize) -> Result<()> {
    let span = if n_rounds == 0 { Span::Time(RUN) } else { Span::Rounds(n_rounds) };
    if client == "memcache" {
        return measure_blocking(load, port, span);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(measure_async(client, load, port, span)))
}

/// How long a measurement is.
#[derive(Clone, Copy)]
enum Span {
    Time(Duration),
    Rounds(usize),
}

impl Span {
    fn is_over(self, start: Instant, n_rounds: usize) -> bool {
        match self {
            Self::Time(time) => start.elapsed() >= time,
            Self::Rounds(rounds) => n_rounds >= rounds,
        }
    }

    /// CPU time of this process, in nanoseconds; valgrind has none.
    fn cpu_ns(self) -> u64 {
        match self {
            Self::Time(_) => {
                let time = clock_gettime(ClockId::ProcessCPUTime);
                time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
            }
            Self::Rounds(_) => 0,
        }
    }

    fn print(self, done: usize, cpu: u64, start: Instant) {
        println!("{done} {} {}", self.cpu_ns() - cpu, start.elapsed().as_nanos());
    }
}

async fn measure_async(client: &str, load: &str, port: u16, span: Span) -> Result<()> {
    let keys: Rc<[String]> = keys().into();
    match (client, load) {
        ("nuthatch", "multi") => {
            let cache = Client::connect(&format!("127.0.0.1:{port}")).await?;
            timed(span, 100, async |round| {
                let found = cache.get_many(batch(&keys, round)).await.unwrap();
                assert!(found.iter().all(Option::is_some));
            })
            .await
        }
        ("nuthatch", "pipeline") => {
            let cache = Client::connect(&format!("127.0.0.1:{port}")).await?;
            timed(span, WIDTH, async |round| {
                let gets = (0..WIDTH).map(|i| cache.get(&keys[(round * WIDTH + i) % 1000]));
                for found in join_all(gets).await {
                    assert_eq!(found.unwrap().unwrap().value.len(), 100);
                }
            })
            .await
        }
        ("nuthatch", _) => {
            let cache = Client::connect(&format!("127.0.0.1:{port}")).await?;
            shared(span, load, async move |i| {
                assert_eq!(cache.get(&keys[i % 1000]).await.unwrap().unwrap().value.len(), 100);
            })
            .await
        }
        ("async-memcached", "multi") => {
            let mut cache = async_memcached::Client::new(format!("tcp://127.0.0.1:{port}")).await?;
            timed(span, 100, async |round| {
                assert_eq!(cache.get_multi(batch(&keys, round)).await.unwrap().len(), 100);
            })
            .await
        }
        ("async-memcached", _) => {
            let cache = async_memcached::Client::new(format!("tcp://127.0.0.1:{port}")).await?;
            let cache = Rc::new(Mutex::new(cache));
            shared(span, load, async move |i| {
                let found = cache.lock().await.get(&keys[i % 1000]).await.unwrap().unwrap();
                assert_eq!(found.data.unwrap().len(), 100);
            })
            .await
        }
        ("memcache-async", "multi") => {
            let mut cache = memcache_async(port).await?;
            timed(span, 100, async |round| {
                assert_eq!(cache.get_multi(batch(&keys, round)).await.unwrap().len(), 100);
            })
            .await
        }
        ("memcache-async", _) => {
            let cache = Rc::new(Mutex::new(memcache_async(port).await?));
            shared(span, load, async move |i| {
                assert_eq!(cache.lock().await.get(&keys[i % 1000]).await.unwrap().len(), 100);
            })
            .await
        }
        _ => return Err("no such client".into()),
    }
    Ok(())
}

async fn memcache_async(port: u16) -> Result<memcache_async::ascii::Protocol<TcpStream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(memcache_async::ascii::Protocol::new(stream))
}

fn batch(keys: &[String], round: usize) -> &[String] {
    let start = round % 10 * 100;
    &keys[start..start + 100]
}

/// `one` and `tasks`: so many tasks as the load has, each doing one thing after the other.
async fn shared(span: Span, load: &str, get: impl AsyncFn(usize) + 'static) {
    let (n_tasks, get) = (if load == "tasks" { WIDTH } else { 1 }, Rc::new(get));
    timed_tasks(span, n_tasks, get).await;
}

async fn timed_tasks<G: AsyncFn(usize) + 'static>(span: Span, n_tasks: usize, get: Rc<G>) {
    for i in 0..WARM {
        get(i).await;
    }
    let (start, cpu) = (now(), span.cpu_ns());
    let tasks = (0..n_tasks).map(|task| {
        let get = Rc::clone(&get);
        tokio::task::spawn_local(async move {
            let mut done = 0;
            while done % 16 != 0 || !span.is_over(start, done) {
                get(task * 20 + done).await;
                done += 1;
            }
            done
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    span.print(done, cpu, start);
}

/// One task that does so many requests a round.
async fn timed(span: Span, n_requests: usize, mut round: impl AsyncFnMut(usize)) {
    for i in 0..WARM {
        round(i).await;
    }
    let (start, cpu) = (now(), span.cpu_ns());
    let mut rounds = 0;
    while !span.is_over(start, rounds) {
        round(rounds).await;
        rounds += 1;
    }
    span.print(rounds * n_requests, cpu, start);
}

/// The client that blocks: a thread for each task, with one connection for all.
fn measure_blocking(load: &str, port: u16, span: Span) -> Result<()> {
    let target = format!("memcache://127.0.0.1:{port}?tcp_nodelay=true");
    let cache = memcache::Client::with_pool_size(target, 1)?;
    let keys: Arc<[String]> = keys().into();
    let get = |i: usize| {
        let value: Option<Vec<u8>> = cache.get(&keys[i % 1000]).unwrap();
        assert_eq!(value.unwrap().len(), 100);
    };
    (0..WARM).for_each(get);
    let (start, cpu) = (now(), span.cpu_ns());
    let mut done = 0;
    if load == "multi" {
        while !span.is_over(start, done / 100) {
            let batch: Vec<&str> = batch(&keys, done / 100).iter().map(String::as_str).collect();
            let found: std::collections::HashMap<String, Vec<u8>> = cache.gets(&batch)?;
            done += found.len();
        }
    } else {
        let n_threads = if load == "tasks" { WIDTH } else { 1 };
        let work = |task: usize| {
            let mut done = 0;
            while done % 16 != 0 || !span.is_over(start, done) {
                get(task * 20 + done);
                done += 1;
            }
            done
        };
        done = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..n_threads).map(|task| scope.spawn(move || work(task))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
    }
    span.print(done, cpu, start);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Which clients can bear which load.
const LOADS: &[(&str, &[&str])] = &[
    ("one", &["nuthatch", "async-memcached", "memcache-async", "memcache", "libmemcached"]),
    ("pipeline", &["nuthatch"]),
    ("tasks", &["nuthatch", "async-memcached", "memcache-async", "memcache"]),
    ("multi", &["nuthatch", "async-memcached", "memcache-async", "memcache", "libmemcached"]),
];

/// Tasks, or requests under way.
const WIDTH: usize = 50;

const WARM: usize = 20;

/// For instructions.
const COUNTED_ROUNDS: usize = 1024;

/// How often each is measured.
const N_TURNS: usize = 5;

/// How long a measurement takes.
const RUN: Duration = Duration::from_millis(500);
