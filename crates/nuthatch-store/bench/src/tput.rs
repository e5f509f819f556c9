//! Throughput: 1,000,003 keys of 32 bytes, values of 64 to 1,024, asked for by Zipf 0.99; a reader
//! loads one byte of each cache line of the value.
//!
//! `get` always hits; `batch` is the same, 16 keys a call; `mix` has room for a quarter of the keys,
//! writes one time in ten and fills what misses; `set` overwrites.
//!
//! Time is cut in windows. Only those count in which other processes used less than 8 % of a
//! processor; if too few were so quiet, the best third of all. The CPU time per operation is that of
//! the measuring threads, which other processes disturb less.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::args::Args;
use crate::child::{self, Figures, cell};
use crate::engine::{Capacity, Engine, Made};
use crate::engines::{self, Driver};
use crate::load::{KEY_LEN_MAX, Shape, Span, mix, touch};
use crate::{Result, machine};

/// How much CPU others may use in a window that counts.
const OTHERS_MAX: f64 = 0.08;
/// Keys of a batched get.
const BATCH: usize = 16;
/// Length of a thread's stream of keys; long enough that it is not learnt by heart.
const STREAM_LEN: usize = 4 << 20;

pub(crate) fn table(mut args: Args) -> Result<()> {
    let engines = args.list("--engines", engines::ALL)?;
    let modes = args.list("--modes", "get,batch,mix,set")?;
    let threads = args.list("--threads", "1,2")?;
    let n: u64 = args.number("--n", 1_000_003)?;
    let windows: usize = args.number("--windows", 5)?;
    args.end()?;
    println!("## Throughput\n");
    println!(
        "{n} keys of 32 bytes, values of 64 to 1,024, Zipf 0.99; windows of 0.3 s in which others \
         used less than 8 % of a CPU.\n"
    );
    println!(
        "| mode | threads | engine | Mops/s | CPU ns/op (least) | hit ratio | clean windows |"
    );
    println!("|---|---|---|---|---|---|---|");
    for mode in &modes {
        for threads in &threads {
            for engine in &engines {
                let is_single = engine == "hashbrown" && threads != "1";
                if is_single || (mode == "mix" && engines::is_unbounded(engine)) {
                    continue;
                }
                let args = [
                    ("--engine", engine.clone()),
                    ("--mode", mode.clone()),
                    ("--threads", threads.clone()),
                    ("--n", n.to_string()),
                    ("--windows", windows.to_string()),
                ];
                let figures = child::run("tput", &args, 180);
                let cell = |name, digits| cell(figures.as_ref(), name, digits);
                println!(
                    "| {mode} | {threads} | {engine} | {} | {} ({}) | {} | {} |",
                    cell("mops", 2),
                    cell("cpu_ns", 0),
                    cell("cpu_ns_min", 0),
                    cell("hit_ratio", 3),
                    cell("clean", 0),
                );
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Get,
    Batch,
    Mix,
    Set,
}

/// What one thread did in one window.
#[derive(Default)]
struct Work {
    ops: u64,
    gets: u64,
    hits: u64,
    cpu_ns: u64,
}

/// What all threads share.
struct Run<'a> {
    mode: Mode,
    shape: Shape,
    value: &'a [u8],
    stop: AtomicBool,
    start: Barrier,
}

pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let mode = match args.need("--mode")?.as_str() {
        "get" => Mode::Get,
        "batch" => Mode::Batch,
        "mix" => Mode::Mix,
        "set" => Mode::Set,
        other => return Err(format!("no mode {other}").into()),
    };
    let n_threads: usize = args.number("--threads", 1)?;
    let n: u64 = args.number("--n", 1_000_003)?;
    let wanted: usize = args.number("--windows", 5)?;
    args.end()?;
    let shape = Shape { n, keys: Span(32, 32), values: Span(64, 1024) };
    let made = engines::make(&name, &capacity(&name, shape, mode), Driver::Thread)?;
    let value: Vec<u8> = (0..1024u32).map(|byte| byte as u8).collect();
    fill(made.get(), shape, &value);
    let streams: Vec<Vec<u32>> =
        (0..n_threads as u64).map(|thread| shape.stream(0.99, 99 + thread, STREAM_LEN)).collect();
    let places: Vec<AtomicUsize> = streams.iter().map(|_| AtomicUsize::new(0)).collect();
    if mode == Mode::Mix {
        warm_up(made.get(), shape, &value, &streams[0]);
    }
    let (mut clean, mut all) = (Vec::new(), Vec::new());
    let mut total = Work::default();
    while clean.len() < wanted && all.len() < 4 * wanted {
        let run = Run {
            mode,
            shape,
            value: &value,
            stop: AtomicBool::new(false),
            start: Barrier::new(n_threads + 1),
        };
        let (work, seconds, others) = window(&made, &run, &streams, &places)?;
        let figures = (work.ops as f64 / seconds / 1e6, work.cpu_ns as f64 / work.ops as f64);
        all.push(figures);
        if others < OTHERS_MAX {
            clean.push(figures);
        }
        total.gets += work.gets;
        total.hits += work.hits;
    }
    let n_clean = clean.len();
    if n_clean < 3 {
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        all.truncate(all.len().div_ceil(3));
        clean = all;
    }
    let mut mops: Vec<f64> = clean.iter().map(|window| window.0).collect();
    let mut cpu_ns: Vec<f64> = clean.iter().map(|window| window.1).collect();
    mops.sort_by(f64::total_cmp);
    cpu_ns.sort_by(f64::total_cmp);
    let mut figures = Figures::default();
    figures.put("mops", mops[mops.len() / 2]);
    figures.put("cpu_ns", cpu_ns[cpu_ns.len() / 2]);
    figures.put("cpu_ns_min", cpu_ns[0]);
    figures.put("clean", n_clean as f64);
    if total.gets > 0 {
        figures.put("hit_ratio", total.hits as f64 / total.gets as f64);
    }
    figures.print();
    Ok(())
}

/// Room for all items, or for a quarter of them.
fn capacity(name: &str, shape: Shape, mode: Mode) -> Capacity {
    let items = if mode == Mode::Mix { shape.n / 4 } else { shape.n };
    // Who counts real memory needs some for headers, index and rounding.
    let counts_memory = engines::counts_memory(name);
    let each = shape.keys.mean() + shape.values.mean() + if counts_memory { 64 } else { 0 };
    let spare = if mode == Mode::Mix { 1.0 } else { 1.4 };
    Capacity {
        unit: false,
        amount: ((items * each) as f64 * spare) as u64,
        overhead: 0,
        items: items as usize,
        item_bytes: 0,
    }
}

pub(crate) fn fill(engine: &dyn Engine, shape: Shape, value: &[u8]) {
    let mut key = [0; KEY_LEN_MAX];
    for number in shape.shuffled() {
        engine.set(shape.key(number, &mut key), &value[..shape.values.of(number)], 0);
    }
    engine.settle();
}

/// Lets a cache that is too small find out what is popular.
fn warm_up(engine: &dyn Engine, shape: Shape, value: &[u8], stream: &[u32]) {
    let mut buffer = [0; KEY_LEN_MAX];
    for &number in stream {
        let key = shape.key(u64::from(number), &mut buffer);
        if !engine.get(key, &mut |_| ()) {
            engine.set(key, &value[..shape.values.of(u64::from(number))], 0);
        }
    }
}

/// One window; also says how long it was and how much CPU others used in it.
fn window(
    made: &Made,
    run: &Run<'_>,
    streams: &[Vec<u32>],
    places: &[AtomicUsize],
) -> Result<(Work, f64, f64)> {
    let mut total = Work::default();
    let timed = std::thread::scope(|scope| -> Result<(f64, f64)> {
        let timer = scope.spawn(|| {
            run.start.wait();
            let others = machine::other_ticks().map_err(|error| error.to_string())?;
            let start = machine::now();
            std::thread::sleep(Duration::from_millis(300));
            run.stop.store(true, Relaxed);
            let seconds = start.elapsed().as_secs_f64();
            let after = machine::other_ticks().map_err(|error| error.to_string())?;
            Ok::<_, String>((seconds, (after - others).max(0.0) / 100.0 / seconds))
        });
        let mut threads = Vec::new();
        if let Made::Shared(engine) = made {
            for (stream, place) in streams.iter().zip(places).skip(1) {
                threads.push(scope.spawn(|| run.thread(&**engine, stream, place)));
            }
        }
        // An engine that is not to be shared runs on this thread alone.
        let mut works = vec![run.thread(made.get(), &streams[0], &places[0])];
        works
            .extend(threads.into_iter().map(|thread| thread.join().expect("no panic in a window")));
        for work in works {
            total.ops += work.ops;
            total.gets += work.gets;
            total.hits += work.hits;
            total.cpu_ns += work.cpu_ns;
        }
        Ok(timer.join().expect("the timer does not panic")?)
    });
    let (seconds, others) = timed?;
    Ok((total, seconds, others))
}

impl Run<'_> {
    /// Works from where the thread's last window ended until it is told to stop.
    fn thread(&self, engine: &dyn Engine, stream: &[u32], place: &AtomicUsize) -> Work {
        let mut work = Work::default();
        let mut sum = 0;
        let mut at = place.load(Relaxed);
        self.start.wait();
        let before = machine::thread_cpu_ns();
        while !self.stop.load(Relaxed) {
            let chunk = &stream[at..at + 256];
            at = (at + 256) % stream.len();
            if self.mode == Mode::Batch {
                self.batches(engine, chunk, &mut work, &mut sum);
            } else {
                self.singles(engine, chunk, &mut work, &mut sum);
            }
            work.ops += chunk.len() as u64;
        }
        work.cpu_ns = machine::thread_cpu_ns() - before;
        place.store(at, Relaxed);
        black_box(sum);
        work
    }

    fn singles(&self, engine: &dyn Engine, chunk: &[u32], work: &mut Work, sum: &mut u64) {
        let mut buffer = [0; KEY_LEN_MAX];
        for (turn, &number) in (work.ops..).zip(chunk) {
            let number = u64::from(number);
            let key = self.shape.key(number, &mut buffer);
            let value = || &self.value[..self.shape.values.of(number)];
            let is_write = match self.mode {
                Mode::Get | Mode::Batch => false,
                Mode::Set => true,
                Mode::Mix => mix(turn ^ number << 20).is_multiple_of(10),
            };
            if is_write {
                engine.set(key, value(), 0);
                continue;
            }
            work.gets += 1;
            if engine.get(key, &mut |value| *sum = sum.wrapping_add(touch(value))) {
                work.hits += 1;
            } else if self.mode == Mode::Mix {
                engine.set(key, value(), 0);
            }
        }
    }

    fn batches(&self, engine: &dyn Engine, chunk: &[u32], work: &mut Work, sum: &mut u64) {
        let mut buffers = [[0; KEY_LEN_MAX]; BATCH];
        for numbers in chunk.chunks_exact(BATCH) {
            let mut keys: [&[u8]; BATCH] = [&[]; BATCH];
            for ((key, buffer), &number) in keys.iter_mut().zip(&mut buffers).zip(numbers) {
                *key = self.shape.key(u64::from(number), buffer);
            }
            let seen = &mut |value: &[u8]| *sum = sum.wrapping_add(touch(value));
            work.hits += engine.get_batch(&keys, seen) as u64;
            work.gets += BATCH as u64;
        }
    }
}
