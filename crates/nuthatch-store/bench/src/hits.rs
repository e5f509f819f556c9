//! Hit ratios on traces.
//!
//! A trace of objects of one size is replayed at the same number of items for everybody. Engines
//! that count items get that number. Those bounded by memory get as many pages as hold it, at a
//! value size at which whole pages come closest to it.
//!
//! A trace with sizes is replayed at the same memory for everybody: engines that count what they
//! are told are charged the bytes an item that `mem` measured for them, the index of ours and the
//! table of memcached are inside the capacity. Time in the trace is time for engines whose clock can
//! be set; for the others, the replayer counts a hit on a dead item as a miss, and their space stays
//! taken.

use crate::args::Args;
use crate::child::{self, Figures};
use crate::engine::{Capacity, Engine};
use crate::engines::{self, Driver};
use crate::trace::{DELETE, SET, Trace, key_of};
use crate::{Result, memcached, sim};

/// Bytes an item that simulators are charged where capacity is memory: our layout's.
const SIM_OVERHEAD: u64 = 45;
/// How many requests a millisecond of maintenance is for.
const REQUESTS_PER_TICK: usize = 512;

/// Hits and misses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) gets: u64,
    pub(crate) hits: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, is_hit: bool) {
        self.gets += 1;
        self.hits += u64::from(is_hit);
    }
}

const DEFAULT_TRACES: &str = "zipf:200000:0.8:2000000,synth:tw48:1000000,synth:tw19:1000000";
const DEFAULT_ENGINES: &str = "nuthatch-lean,nuthatch-compat,quick_cache,moka,foyer-s3fifo,segcache-merge,\
                               sim:lru,sim:mcslru,sim:s3fifo,sim:s3fifo-px,sim:belady";

pub(crate) fn table(mut args: Args) -> Result<()> {
    let traces = args.list("--traces", DEFAULT_TRACES)?;
    let fractions = args.list("--fractions", "0.01,0.05,0.2")?;
    let mib = args.list("--mib", "")?;
    let mut engines = args.list("--engines", DEFAULT_ENGINES)?;
    let memcached = args.take("--memcached")?;
    args.end()?;
    if memcached.is_some() {
        engines.insert(0, "memcached".to_owned());
    }
    let base = engines.first().cloned().unwrap_or_default();
    println!("## Hit ratios\n");
    println!("In parentheses the misses as a multiple of those of {base}.\n");
    // Logarithms of these multiples.
    let mut ratios: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
    for spec in &traces {
        let trace = Trace::load(spec)?;
        let capacities = capacities(&trace, &fractions, &mib)?;
        let unit = if trace.has_sizes() { "MiB" } else { "items" };
        let shown = |capacity: &u64| capacity >> if trace.has_sizes() { 20 } else { 0 };
        let heads: Vec<String> =
            capacities.iter().map(|capacity| format!(" {} {unit} |", shown(capacity))).collect();
        println!("### {}: {} requests, {} objects\n", trace.name, trace.len(), trace.n_objects);
        println!("| engine |{}\n|---|{}", heads.concat(), "---|".repeat(heads.len()));
        let mut base_misses = Vec::new();
        for (engine, ratios) in engines.iter().zip(&mut ratios) {
            let is_out = match engine.as_str() {
                "sim:belady" => trace.has_sizes(),
                name => name.ends_with("-px") && !trace.has_ttls(),
            };
            if is_out {
                continue;
            }
            let mut row = format!("| {engine} |");
            for (at, capacity) in capacities.iter().enumerate() {
                let mut args = vec![
                    ("--engine", engine.clone()),
                    ("--trace", spec.clone()),
                    ("--capacity", capacity.to_string()),
                ];
                args.extend(memcached.iter().map(|path| ("--memcached", path.clone())));
                let figures = child::run("hits", &args, 1800);
                let Some(ratio) = figures.as_ref().and_then(|figures| figures.get("hit_ratio"))
                else {
                    row.push_str(" - |");
                    base_misses.resize(base_misses.len().max(at + 1), f64::NAN);
                    continue;
                };
                let misses = 1.0 - ratio;
                if base_misses.len() == at {
                    base_misses.push(misses);
                }
                let multiple = misses / base_misses[at];
                if multiple.is_finite() {
                    ratios.push(multiple.ln());
                }
                row.push_str(&format!(" {ratio:.4} ({multiple:.3})"));
                if let Some(items) = figures.as_ref().and_then(|figures| figures.get("exact")) {
                    row.push_str(&format!(" at {items}"));
                }
                row.push_str(" |");
            }
            println!("{row}");
        }
        println!();
    }
    println!("| engine | misses against {base}, geometric mean | points |\n|---|---|---|");
    for (engine, ratios) in engines.iter().zip(&ratios) {
        if !ratios.is_empty() {
            let mean = (ratios.iter().sum::<f64>() / ratios.len() as f64).exp();
            println!("| {engine} | {mean:.3} | {} |", ratios.len());
        }
    }
    Ok(())
}

/// Items for a trace of one size; bytes, in whole MiB, for one with sizes.
fn capacities(trace: &Trace, fractions: &[String], mib: &[String]) -> Result<Vec<u64>> {
    let mut capacities = Vec::new();
    if trace.has_sizes() && !mib.is_empty() {
        for mib in mib {
            capacities.push(mib.parse::<u64>()? << 20);
        }
        return Ok(capacities);
    }
    let (all, step, least) = if trace.has_sizes() {
        (trace.live_footprint(), 1 << 20, 4 << 20)
    } else {
        (u64::from(trace.n_objects), 1, 64)
    };
    for fraction in fractions {
        let part = (all as f64 * fraction.parse::<f64>()?) as u64;
        capacities.push(part.next_multiple_of(step).max(least));
    }
    Ok(capacities)
}

/// One engine, one trace, one capacity.
pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let trace = Trace::load(&args.need("--trace")?)?;
    let capacity: u64 = args.need("--capacity")?.parse()?;
    let program = args.take("--memcached")?;
    args.end()?;
    let mut figures = Figures::default();
    let tally = if let Some(policy) = name.strip_prefix("sim:") {
        sim::run(policy, &trace, capacity, SIM_OVERHEAD)?
    } else if name == "memcached" {
        let program = program.ok_or("--memcached is missing")?;
        let (tally, items) = of_memcached(&program, &trace, capacity)?;
        figures.put("items", items as f64);
        tally
    } else if trace.has_sizes() {
        at_memory(&name, &trace, capacity, &mut figures)?
    } else {
        at_items(&name, &trace, capacity, &mut figures)?
    };
    figures.put("hit_ratio", tally.hits as f64 / tally.gets as f64);
    figures.print();
    Ok(())
}

/// Sizes of key and value that might make whole pages hold just so many items.
fn unit_sizes(items: u64) -> Vec<usize> {
    // 64 MiB or so in all, where that makes sensible items.
    let most = ((64 << 20) / items.max(1)).clamp(150, 64 << 10) as f64;
    (0..24).map(|step| (most * 0.97f64.powi(step)) as usize).collect()
}

/// Of the sizes, the one whose `exact` number of items is nearest to `items`; a size may have none.
fn best_size(items: u64, exact: impl Fn(usize) -> Result<u64>) -> Result<usize> {
    let distance = |size: usize| exact(size).ok().map(|n| (n.abs_diff(items), size));
    let best = unit_sizes(items).into_iter().filter_map(distance).min();
    Ok(best.ok_or("no size of value fits")?.1)
}

fn at_items(name: &str, trace: &Trace, items: u64, figures: &mut Figures) -> Result<Tally> {
    // An engine that counts items need not be given large ones.
    let mut size = trace.key_len(0) + 8;
    if name.starts_with("nuthatch-") {
        size = best_size(items, |size| engines::exact_items(name, items, size))?;
        figures.put("exact", engines::exact_items(name, items, size)? as f64);
    } else if engines::counts_memory(name) {
        size = unit_sizes(items)[0];
    }
    let capacity = Capacity {
        unit: true,
        amount: items,
        overhead: 0,
        items: items as usize,
        item_bytes: size,
    };
    let made = engines::make(name, &capacity, Driver::Ticks)?;
    let tally = replay(made.get(), trace, Some(size - trace.key_len(0)));
    figures.put("items", made.get().len().unwrap_or(0) as f64);
    Ok(tally)
}

fn at_memory(name: &str, trace: &Trace, bytes: u64, figures: &mut Figures) -> Result<Tally> {
    let mean = trace.footprint() / u64::from(trace.n_objects.max(1));
    let mut capacity = Capacity {
        unit: false,
        amount: bytes,
        overhead: engines::overhead(name),
        items: (bytes / mean.max(1)).min(u64::from(trace.n_objects)) as usize,
        item_bytes: 0,
    };
    let mut made = engines::make(name, &capacity, Driver::Ticks)?;
    let mut tally = replay(made.get(), trace, None);
    // Ours does not count its index: it is taken off, and all is done again.
    if let Some(memory) = made.get().memory()
        && memory.items + memory.index > bytes
    {
        capacity.amount = bytes.saturating_sub(memory.index);
        made = engines::make(name, &capacity, Driver::Ticks)?;
        tally = replay(made.get(), trace, None);
    }
    if let Some(memory) = made.get().memory() {
        figures.put("memory", (memory.items + memory.index) as f64);
    }
    figures.put("items", made.get().len().unwrap_or(0) as f64);
    Ok(tally)
}

fn of_memcached(program: &str, trace: &Trace, capacity: u64) -> Result<(Tally, u64)> {
    // Virtual time is a command of its debug build alone.
    let program = if trace.has_ttls() { format!("{program}-debug") } else { program.to_owned() };
    if !trace.has_sizes() {
        let chunks = memcached::chunks(&program, &unit_sizes(capacity))?;
        // Header with CAS number, NUL, and the line end of the value.
        let per_page = |size: usize| -> Result<u64> {
            let found = chunks.iter().find(|(chunk, _)| *chunk >= size as u64 + 59);
            Ok(found.ok_or("no chunk so large")?.1)
        };
        let pages = |per_page: u64| ((capacity + per_page / 2) / per_page).max(1);
        let size = best_size(capacity, |size| Ok(pages(per_page(size)?) * per_page(size)?))?;
        let mib = pages(per_page(size)?);
        return memcached::replay(&program, trace, mib, Some(size - trace.key_len(0)));
    }
    // Its table has a bucket of 8 bytes for up to 1.5 items and doubles.
    let mean = trace.footprint() / u64::from(trace.n_objects.max(1));
    let buckets = (capacity / (mean + 105) * 2 / 3).next_power_of_two().max(1 << 16);
    let mib = (capacity.saturating_sub(8 * buckets) >> 20).max(1);
    memcached::replay(&program, trace, mib, None)
}

/// Replays a trace; all values have `unit_len` bytes if it is given.
fn replay(engine: &dyn Engine, trace: &Trace, unit_len: Option<usize>) -> Tally {
    let longest = (0..trace.len()).map(|at| trace.value_len(at)).max().unwrap_or(0);
    let value = vec![b'v'; unit_len.unwrap_or(longest)];
    let mut buffer = [0; 256];
    let mut tally = Tally::default();
    let has_clock = trace.has_ttls() && engine.set_now(0);
    let mut deadlines = vec![0; trace.n_objects as usize];
    let mut now = 0;
    for (at, &id) in trace.id.iter().enumerate() {
        if trace.time(at) != now {
            now = trace.time(at);
            if has_clock {
                engine.set_now(now);
            }
        }
        if at % REQUESTS_PER_TICK == 0 {
            engine.tick();
        }
        let key = key_of(id, trace.key_len(at), &mut buffer);
        let op = trace.op(at);
        if op == DELETE {
            engine.delete(key);
            continue;
        }
        if op != SET {
            let deadline: u32 = deadlines[id as usize];
            let is_live = has_clock || deadline == 0 || deadline > now;
            let is_hit = engine.get(key, &mut |_| ()) && is_live;
            tally.count(is_hit);
            if is_hit {
                continue;
            }
        }
        let len = unit_len.unwrap_or_else(|| trace.value_len(at));
        engine.set(key, &value[..len], trace.ttl(at));
        deadlines[id as usize] = trace.deadline(at);
    }
    tally
}
