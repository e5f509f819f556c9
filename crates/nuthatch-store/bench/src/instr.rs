//! Instructions and simulated cache misses of an operation, counted by valgrind's callgrind; the
//! machine's noise has no part in them.
//!
//! 200,003 items of 32 + 256 bytes, asked for by Zipf 0.99. The harness's own share, measured with
//! an engine that does nothing, is taken off. memcached is run as it is; what counts is its
//! functions `item_get` and `item_remove` for a get, `item_alloc`, `store_item` and `item_remove` for
//! a set: its engine without its protocol.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, getrlimit};

use crate::Result;
use crate::args::Args;
use crate::engine::{Capacity, Engine};
use crate::engines::{self, Driver};
use crate::load::{KEY_LEN_MAX, Shape, Span};
use crate::memcached::{Memcached, put_set};
use crate::tput;
use crate::trace::key_of;

const SHAPE: Shape = Shape { n: 200_003, keys: Span(32, 32), values: Span(256, 256) };
const OPS: usize = 200_000;

/// A first-level cache of 48 KiB and a second level of 1 MiB, written as callgrind wants it.
const CACHES: [&str; 4] =
    ["--cache-sim=yes", "--D1=49152,12,64", "--I1=32768,8,64", "--LL=1048576,16,64"];

/// What callgrind counted for one operation.
#[derive(Clone, Copy, Default)]
struct Cost {
    instructions: f64,
    l1: f64,
    l2: f64,
}

pub(crate) fn table(mut args: Args) -> Result<()> {
    let engines =
        args.list("--engines", "nuthatch-lean,nuthatch-compat,quick_cache,hashbrown,moka")?;
    let memcached = args.take("--memcached")?;
    args.end()?;
    println!("## Instructions\n");
    println!("Per operation, without the harness's share; caches of 48 KiB and 1 MiB.\n");
    println!("| op | engine | instructions | L1d misses | L2 misses |\n|---|---|---|---|---|");
    for op in ["get", "set"] {
        let harness = of_engine("null", op)?;
        for engine in &engines {
            match of_engine(engine, op) {
                Ok(cost) => print(op, engine, cost, harness),
                Err(error) => eprintln!("instr {engine} {op}: {error}"),
            }
        }
        if let Some(program) = &memcached {
            match of_memcached(program, op) {
                Ok(cost) => print(op, "memcached", cost, Cost::default()),
                Err(error) => eprintln!("instr memcached {op}: {error}"),
            }
        }
    }
    Ok(())
}

fn print(op: &str, engine: &str, cost: Cost, harness: Cost) {
    println!(
        "| {op} | {engine} | {:.0} | {:.2} | {:.2} |",
        cost.instructions - harness.instructions,
        cost.l1 - harness.l1,
        cost.l2 - harness.l2,
    );
}

/// The program run under callgrind, with a file for what it counts.
fn callgrind(functions: &[&str]) -> (Command, PathBuf) {
    let out = std::env::temp_dir().join(format!("nuthatch-bench-{}.cg", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--collect-atstart=no"]).args(CACHES);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.args(functions.iter().map(|function| format!("--toggle-collect={function}")));
    (command, out)
}

fn of_engine(engine: &str, op: &str) -> Result<Cost> {
    let (mut command, out) = callgrind(&[MEASURED]);
    let done = command
        .arg(std::env::current_exe()?)
        .args(["child", "instr", "--engine", engine, "--op", op])
        .output()
        .map_err(|error| format!("valgrind: {error} (Debian's package is valgrind)"))?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    read_totals(&out)
}

fn read_totals(file: &Path) -> Result<Cost> {
    let text = std::fs::read_to_string(file)?;
    std::fs::remove_file(file)?;
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let events: Vec<&str> = line("events:").ok_or("no events")?.split_ascii_whitespace().collect();
    let totals = line("totals:").or_else(|| line("summary:")).ok_or("no totals")?;
    let totals: Vec<f64> =
        totals.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let per_op = |names: &[&str]| -> f64 {
        let of = |name: &&str| events.iter().position(|event| event == name);
        names.iter().filter_map(of).filter_map(|at| totals.get(at)).sum::<f64>() / OPS as f64
    };
    let cost = Cost {
        instructions: per_op(&["Ir"]),
        l1: per_op(&["D1mr", "D1mw"]),
        l2: per_op(&["DLmr", "DLmw"]),
    };
    if cost.instructions == 0.0 {
        return Err("callgrind did not see the measured function".into());
    }
    Ok(cost)
}

/// In a child under callgrind: fills, then calls what is measured.
pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let is_set = args.need("--op")? == "set";
    args.end()?;
    let capacity = Capacity {
        unit: false,
        amount: SHAPE.n * 512,
        overhead: 0,
        items: SHAPE.n as usize,
        item_bytes: 0,
    };
    let made = engines::make(&name, &capacity, Driver::Ticks)?;
    let value = vec![1; 256];
    tput::fill(made.get(), SHAPE, &value);
    made.get().tick();
    let stream = SHAPE.stream(0.99, 5, OPS);
    black_box(measured_loop(made.get(), &stream, &value, is_set));
    // What comes down after this is not of interest.
    std::process::exit(0)
}

/// The name under which callgrind knows the function below.
const MEASURED: &str = "nuthatch_store_bench::instr::measured_loop*";

#[inline(never)]
fn measured_loop(engine: &dyn Engine, stream: &[u32], value: &[u8], is_set: bool) -> u64 {
    let mut sum = 0;
    let mut key = [0; KEY_LEN_MAX];
    for &number in stream {
        let key = SHAPE.key(u64::from(number), &mut key);
        if is_set {
            engine.set(key, value, 0);
        } else {
            engine.get(key, &mut |value| sum += u64::from(value[0]));
        }
    }
    sum
}

/// How many files valgrind lets its program open. memcached sets its limit to its number of
/// connections, and valgrind refuses any other than this.
fn files_under_valgrind() -> u64 {
    // What it keeps for itself; it raises the soft limit by as many if it can.
    const KEPT: u64 = 12;
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    soft.saturating_add(KEPT).min(hard) - KEPT
}

fn of_memcached(program: &str, op: &str) -> Result<Cost> {
    let functions: &[&str] = if op == "get" {
        &["item_get", "item_remove"]
    } else {
        &["item_alloc", "store_item", "item_remove"]
    };
    let (mut command, out) = callgrind(functions);
    command.arg(program).args(["-c", &files_under_valgrind().to_string()]);
    let mut memcached = Memcached::start(command, 1024)?;
    let pid = memcached.pid().to_string();
    memcached.fill(SHAPE)?;
    let zero = Command::new("callgrind_control")
        .args(["--zero", &pid])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !zero.success() {
        return Err("callgrind_control --zero failed".into());
    }
    let value = vec![b'v'; 256];
    for numbers in SHAPE.stream(0.99, 5, OPS).chunks(64) {
        let mut request = Vec::new();
        for &number in numbers {
            let mut buffer = [0; 256];
            let key = key_of(number, 32, &mut buffer);
            if op == "set" {
                put_set(&mut request, key, &value, 0);
            } else {
                request.extend_from_slice(b"mg ");
                request.extend_from_slice(key);
                request.extend_from_slice(b"\r\n");
            }
        }
        memcached.send(&request)?;
        for _ in numbers {
            memcached.answer()?;
        }
    }
    memcached.end()?;
    read_totals(&out)
}
