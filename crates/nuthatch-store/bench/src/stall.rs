//! Stalls: how long the longest inserts take while a store grows to many small items.

use std::time::Duration;

use crate::args::Args;
use crate::child::{self, Figures, cell};
use crate::engine::Capacity;
use crate::engines::{self, Driver};
use crate::load::{KEY_LEN_MAX, Shape, Span};
use crate::{Result, machine};

pub(crate) fn table(mut args: Args) -> Result<()> {
    let engines = args.list("--engines", "nuthatch-compat,quick_cache,moka,dashmap,hashbrown")?;
    let n: u64 = args.number("--n", 10_000_000)?;
    args.end()?;
    println!("## Stalls\n");
    println!("{n} inserts of new keys of 20 bytes with 10 bytes each; the time of one, in µs.\n");
    println!("| engine | mean | p99.9 | p99.99 | longest |\n|---|---|---|---|---|");
    for engine in &engines {
        let args = [("--engine", engine.clone()), ("--n", n.to_string())];
        let figures = child::run("stall", &args, 600);
        let cell = |name, digits| cell(figures.as_ref(), name, digits);
        println!(
            "| {engine} | {} | {} | {} | {} |",
            cell("mean_us", 2),
            cell("p999_us", 1),
            cell("p9999_us", 1),
            cell("max_us", 0),
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
    let mut histogram = Histogram::default();
    let start = machine::now();
    let mut last = start;
    for number in 0..n {
        engine.set(shape.key(number, &mut key), &[7; 10], 0);
        let now = machine::now();
        histogram.add(now - last);
        last = now;
    }
    let mean = start.elapsed().as_secs_f64() * 1e6 / n as f64;
    let mut figures = Figures::default();
    figures.put("mean_us", mean);
    figures.put("p999_us", histogram.quantile(0.999));
    figures.put("p9999_us", histogram.quantile(0.9999));
    figures.put("max_us", histogram.longest.as_secs_f64() * 1e6);
    figures.print();
    Ok(())
}

/// Counts by time, in steps of a tenth of a microsecond up to 10 ms.
struct Histogram {
    counts: Vec<u64>,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 100_001], longest: Duration::ZERO }
    }
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let step = (time.as_nanos() / 100).min(self.counts.len() as u128 - 1);
        self.counts[step as usize] += 1;
        self.longest = self.longest.max(time);
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
        self.longest.as_secs_f64() * 1e6
    }
}
