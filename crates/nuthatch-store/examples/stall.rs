//! How long does one insert take at the worst, while millions of items make every table grow?
//!
//! ```text
//! cargo run --release -p nuthatch-store --example stall -- [items] [limit in MiB]
//! ```
//!
//! Fills a store with small items (32 bytes of header, 16 of key, 12 of value) and prints how long
//! the inserts took, beside the same number of measurements of next to nothing: what those show is
//! the machine's doing (other programs, interrupts), not the store's.

use std::hint::black_box;
use std::time::Instant;

use nuthatch_store::{Set, Store, types::Key};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let n_items = arguments.next().unwrap_or(Ok(10_000_000))?;
    let limit_mib = arguments.next().unwrap_or(Ok(2048))?;
    let store = Store::builder().memory_limit(usize::try_from(limit_mib)? << 20).build()?;

    let mut nothing = Times::new();
    for n in 0..n_items {
        nothing.measure(|| black_box(n));
    }
    nothing.print("nothing");

    let mut inserts = Times::new();
    for n in 0..n_items {
        let key = format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = Key::new(&key)?;
        inserts.measure(|| store.set(key, b"twelve bytes", Set::default()))?;
    }
    inserts.print("insert");

    let stats = store.stats();
    println!(
        "{} items, {} evicted, index of {:.2} bytes an item, {:.1} % full",
        stats.curr_items,
        stats.totals.evicted,
        stats.index_bytes as f64 / stats.curr_items as f64,
        stats.curr_items as f64 * 85.0 / stats.index_capacity as f64,
    );
    Ok(())
}

/// Times in nanoseconds: 16 steps to each doubling.
struct Times {
    counts: Vec<u64>,
    longest: u64,
}

impl Times {
    fn new() -> Self {
        Self { counts: vec![0; 64 * 16], longest: 0 }
    }

    #[expect(clippy::disallowed_methods, reason = "this measures time")]
    fn measure<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = f();
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts[Self::step(ns)] += 1;
        self.longest = self.longest.max(ns);
        result
    }

    fn step(ns: u64) -> usize {
        let ns = ns.max(16);
        let doubling = ns.ilog2();
        let within = (ns >> (doubling - 4)) & 15;
        doubling as usize * 16 + usize::try_from(within).unwrap_or(15)
    }

    /// The time that a share of the measurements do not exceed, in nanoseconds.
    fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let mut left = total as f64 * share;
        for (step, &count) in self.counts.iter().enumerate() {
            left -= count as f64;
            if left <= 0.0 {
                let (doubling, within) = (step / 16, step % 16);
                return (16 + within as u64 + 1) << (doubling.max(4) - 4);
            }
        }
        self.longest
    }

    fn print(&self, name: &str) {
        let over = |ns: u64| self.counts[Self::step(ns) + 1..].iter().sum::<u64>();
        println!(
            "{name}: median {} ns, p99 {} ns, p99.9 {} ns, p99.99 {} ns, p99.999 {} ns, \
             longest {} us; {} above 100 us, {} above 1 ms",
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(0.999),
            self.quantile(0.9999),
            self.quantile(0.99999),
            self.longest / 1000,
            over(100_000),
            over(1_000_000),
        );
    }
}
