//! Density: how many items a full cache of 64 MiB holds whose keys and values are as long as those
//! of Twitter's clusters are on average, log-normally spread.
//!
//! Unlike in `mem`, lengths differ from item to item, so that it is not chance in which slab class
//! they land. Memory is what the engine itself says it has taken: pages and index.

use std::process::Command;

use crate::args::Args;
use crate::child::{self, Figures, cell};
use crate::engine::Capacity;
use crate::engines::{self, Driver};
use crate::memcached::Memcached;
use crate::trace::{key_of, lengths};
use crate::{Result, memcached};

/// The memory limit of the caches.
const LIMIT: u64 = 64 << 20;
/// Items stored, as multiples of what the limit would hold of keys and values alone.
const TIMES: u64 = 4;
const VALUE_LEN_MAX: usize = 900_000;

pub(crate) fn table(mut args: Args) -> Result<()> {
    let mut engines = args.list("--engines", engines::OURS)?;
    let memcached = args.take("--memcached")?;
    let clusters = args.list("--clusters", "tw14,tw19,tw29,tw45,tw48")?;
    args.end()?;
    if memcached.is_some() {
        engines.insert(0, "memcached".to_owned());
    }
    println!("## Density\n");
    println!("Items in full caches of 64 MiB, for each MiB of pages and index.\n");
    println!("| lengths | mean key + value | engine | items per MiB | multiple of the first |");
    println!("|---|---|---|---|---|");
    for cluster in &clusters {
        let mut first = None;
        for engine in &engines {
            let mut args = vec![("--engine", engine.clone()), ("--cluster", cluster.clone())];
            args.extend(memcached.iter().map(|path| ("--memcached", path.clone())));
            let figures = child::run("density", &args, 180);
            let cell = |name, digits| cell(figures.as_ref(), name, digits);
            let per_mib = figures.as_ref().and_then(|figures| figures.get("per_mib"));
            let first = *first.get_or_insert_with(|| per_mib.unwrap_or(f64::NAN));
            println!(
                "| {cluster} | {} | {engine} | {} | {:.3} |",
                cell("mean", 0),
                cell("per_mib", 0),
                per_mib.unwrap_or(f64::NAN) / first,
            );
        }
    }
    Ok(())
}

pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let cluster = args.need("--cluster")?;
    let program = args.take("--memcached")?;
    args.end()?;
    const SAMPLE: u32 = 100_000;
    let mut total = 0;
    for number in 0..SAMPLE {
        let (key, value) = lengths(&cluster, number)?;
        total += key + value;
    }
    let mean = total as f64 / f64::from(SAMPLE);
    let n = ((LIMIT * TIMES) as f64 / mean) as u32;
    let (items, bytes) = if name == "memcached" {
        of_memcached(&program.ok_or("--memcached is missing")?, &cluster, n)?
    } else {
        of_engine(&name, &cluster, n)?
    };
    let mut figures = Figures::default();
    figures.put("mean", mean);
    figures.put("per_mib", items as f64 / (bytes as f64 / f64::from(1 << 20)));
    figures.print();
    Ok(())
}

fn of_engine(name: &str, cluster: &str, n: u32) -> Result<(u64, u64)> {
    let capacity = Capacity { unit: false, amount: LIMIT, overhead: 0, items: 0, item_bytes: 0 };
    let made = engines::make(name, &capacity, Driver::Ticks)?;
    let engine = made.get();
    let value = vec![b'v'; VALUE_LEN_MAX];
    for number in 0..n {
        let (key_len, len) = lengths(cluster, number)?;
        engine.set(key_of(number, key_len, &mut [0; 256]), &value[..len], 0);
        if number % 512 == 0 {
            engine.tick();
        }
    }
    let memory = engine.memory().ok_or("it does not say what it holds")?;
    Ok((engine.len().ok_or("it does not say how many it holds")?, memory.items + memory.index))
}

fn of_memcached(program: &str, cluster: &str, n: u32) -> Result<(u64, u64)> {
    let mut memcached = Memcached::start(Command::new(program), LIMIT >> 20)?;
    let value = vec![b'v'; VALUE_LEN_MAX];
    let mut out = Vec::new();
    let mut unread = 0;
    for number in 0..n {
        let (key_len, len) = lengths(cluster, number)?;
        memcached::put_set(&mut out, key_of(number, key_len, &mut [0; 256]), &value[..len], 0);
        unread += 1;
        if out.len() > 64 << 10 || number + 1 == n {
            memcached.send(&out)?;
            out.clear();
            for _ in 0..std::mem::take(&mut unread) {
                memcached.answer()?;
            }
        }
    }
    let slabs = memcached.stats("slabs")?;
    let pages: u64 = slabs.get("total_malloced").ok_or("no such statistic")?.parse()?;
    Ok((memcached.stat("curr_items")?, pages + memcached.stat("hash_bytes")?))
}
