//! Stalls: how long the longest inserts take while a store grows to many small items.

use crate::args::Args;
use crate::child::{self, Figures, cell};
use crate::engine::Capacity;
use crate::engines::{self, Driver};
use crate::load::{KEY_LEN_MAX, Shape, Span};
use crate::{Result, machine};

pub(crate) fn table(mut args: Args) -> Result<()> {
    let engines =
        args.list("--engines", "nuthatch-lean,nuthatch-compat,quick_cache,moka,dashmap,hashbrown")?;
    let n: u64 = args.number("--n", 10_000_000)?;
    args.end()?;
    println!("## Stalls\n");
    println!("{n} inserts of new keys of 20 bytes with 10 bytes each; the time of one, in µs.");
    println!("CPU time is that of the inserting thread: what other processes take is not in it.\n");
    println!("| engine | CPU mean | p99.9 | p99.99 | longest | wall p99.9 | p99.99 | longest |");
    println!("|---|---|---|---|---|---|---|---|");
    for engine in &engines {
        let args = [("--engine", engine.clone()), ("--n", n.to_string())];
        let figures = child::run("stall", &args, 600);
        let cell = |name, digits| cell(figures.as_ref(), name, digits);
        println!(
            "| {engine} | {} | {} | {} | {} | {} | {} | {} |",
            cell("cpu_mean", 2),
            cell("cpu_p999", 1),
            cell("cpu_p9999", 1),
            cell("cpu_max", 0),
            cell("wall_p999", 1),
            cell("wall_p9999", 1),
            cell("wall_max", 0),
        );
    }
    Ok(())
}

pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let n: u64 = args.need("--n")?.parse()?;
    args.end()?;
    let shape = Shape { n, keys: Span(20, 20), values: Span(10, 10) };
    let capacity = Capacity {
        unit: false,
        amount: n * 160,
        overhead: 0,
        // Growing is what is measured: nobody is told what is to come.
        items: 0,
        item_bytes: 0,
    };
    let made = engines::make(&name, &capacity, Driver::Thread)?;
    let engine = made.get();
    let mut key = [0; KEY_LEN_MAX];
    let (mut wall, mut cpu) = (Histogram::default(), Histogram::default());
    let mut last = (machine::now(), machine::thread_cpu_ns());
    for number in 0..n {
        engine.set(shape.key(number, &mut key), &[7; 10], 0);
        let now = (machine::now(), machine::thread_cpu_ns());
        wall.add((now.0 - last.0).as_nanos() as u64);
        cpu.add(now.1 - last.1);
        last = now;
    }
    let mut figures = Figures::default();
    for (name, histogram) in [("wall", wall), ("cpu", cpu)] {
        figures.put(&format!("{name}_mean"), histogram.sum as f64 / 1e3 / n as f64);
        figures.put(&format!("{name}_p999"), histogram.quantile(0.999));
        figures.put(&format!("{name}_p9999"), histogram.quantile(0.9999));
        figures.put(&format!("{name}_max"), histogram.longest as f64 / 1e3);
    }
    figures.print();
    Ok(())
}

/// Counts by time, in steps of a tenth of a microsecond up to 10 ms.
struct Histogram {
    counts: Vec<u64>,
    /// In nanoseconds.
    longest: u64,
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 100_001], longest: 0, sum: 0 }
    }
}

impl Histogram {
    fn add(&mut self, ns: u64) {
        let step = (ns as usize / 100).min(self.counts.len() - 1);
        self.counts[step] += 1;
        self.longest = self.longest.max(ns);
        self.sum += ns;
    }

    /// In microseconds, rounded up.
    fn quantile(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let mut left = (total as f64 * share) as u64;
        for (step, count) in self.counts.iter().enumerate() {
            if left < *count {
                return (step + 1) as f64 / 10.0;
            }
            left -= count;
        }
        self.longest as f64 / 1e3
    }
}
