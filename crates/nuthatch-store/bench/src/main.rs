//! The store beside its peers: throughput, memory, instructions, hit ratio, stalls.
//!
//! `cargo xtask bench store` builds and runs this. Every figure comes from a process of its own; see
//! the modules for what exactly each mode does.

#![forbid(unsafe_code)]

mod args;
mod child;
mod density;
mod engine;
mod engines;
mod hits;
mod instr;
mod load;
mod machine;
mod mem;
mod memcached;
mod sim;
mod stall;
mod tput;
mod trace;

use std::error::Error;
use std::process::ExitCode;

use args::Args;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let mode = if words.is_empty() { "all".to_owned() } else { words.remove(0) };
    match run(&mode, words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuthatch-store-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: &str, mut words: Vec<String>) -> Result<()> {
    if matches!(mode, "help" | "-h" | "--help") || words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return Ok(());
    }
    if mode == "child" {
        let mode = if words.is_empty() { String::new() } else { words.remove(0) };
        let args = Args::new(words);
        return match mode.as_str() {
            "tput" => tput::measure(args),
            "mem" => mem::measure(args),
            "instr" => instr::measure(args),
            "density" => density::measure(args),
            "hits" => hits::measure(args),
            "stall" => stall::measure(args),
            _ => Err("no such measurement".into()),
        };
    }
    println!("{}\n", machine::processor());
    let args = || Args::new(words.clone());
    match mode {
        "tput" => tput::table(args()),
        "mem" => mem::table(args()),
        "instr" => instr::table(args()),
        "density" => density::table(args()),
        "hits" => hits::table(args()),
        "stall" => stall::table(args()),
        "all" => {
            let mut all = args();
            let memcached = all.take("--memcached")?;
            all.end()?;
            let with = |there: bool| {
                let words = memcached.iter().flat_map(|path| ["--memcached".into(), path.clone()]);
                Args::new(words.filter(|_| there).collect())
            };
            tput::table(with(false))?;
            println!();
            mem::table(with(true))?;
            println!();
            density::table(with(true))?;
            println!();
            instr::table(with(true))?;
            println!();
            hits::table(with(true))?;
            println!();
            stall::table(with(false))
        }
        _ => Err(format!("no mode {mode}; --help lists them").into()),
    }
}

const HELP: &str = "\
cargo xtask bench store [mode] [options]: the store beside its peers; Markdown tables

all    (the default)   every mode with its defaults: about 15 minutes on two cores
  --memcached PATH       compare with this memcached too
tput   throughput and CPU time of get, batch (16 keys), mix and set
  --modes get,mix  --threads 1,2  --n KEYS  --windows N (of 0.3 s)
mem    resident bytes per item, keys of 20 to 40 bytes
  --values 10,64  --n ITEMS  --memcached PATH
density  items in full caches of 64 MiB, lengths as in Twitter's clusters
  --clusters tw14,tw48  --memcached PATH
instr  instructions and simulated cache misses per get and set; needs valgrind
  --memcached PATH
hits   hit ratio on traces
  --traces FILE,…        ECT1 files (.zst or plain), synth:CLUSTER[:REQUESTS] with one of
                         tw14 tw19 tw29 tw45 tw48, zipf:OBJECTS:EXPONENT:REQUESTS
  --fractions 0.01,0.05  of the objects, or of the most bytes alive where there are sizes
  --mib 24,48            capacities of traces with sizes, instead of fractions
  --memcached PATH       for traces with life spans, PATH-debug must be its debug build
stall  the longest inserts while growing
  --n ITEMS

All modes but `all` take --engines a,b,c: nuthatch-lean, nuthatch-compat (with -huge at the
end: in huge pages), quick_cache, moka, foyer-s3fifo, foyer-lru, segcache-merge, dashmap,
hashbrown, null; in hits also sim:lru, sim:mcslru (memcached's LRU on paper), sim:s3fifo,
sim:belady, and with -px at the end of a sim's name, expired items give their space back
at once.
";
