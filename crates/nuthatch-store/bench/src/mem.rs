//! Memory: resident bytes per item after filling, without a bound that could be hit.
//!
//! Keys are 20 to 40 bytes. Overhead is what is resident beyond key and value; index, headers,
//! rounding and allocator are all in it.

use std::process::Command;
use std::time::Duration;

use crate::args::Args;
use crate::child::{self, Figures, cell};
use crate::engine::{Capacity, Engine};
use crate::engines::{self, Driver};
use crate::load::{KEY_LEN_MAX, Shape, Span};
use crate::memcached::Memcached;
use crate::{Result, machine, tput};

/// How much key and value are filled at the most.
const PAYLOAD_MAX: u64 = 512 << 20;

pub(crate) fn table(mut args: Args) -> Result<()> {
    let mut engines = args.list("--engines", engines::ALL)?;
    let memcached = args.take("--memcached")?;
    let values = args.list("--values", "10,32,64,100,256,500,1024,4000")?;
    let n: u64 = args.number("--n", 1_000_003)?;
    args.end()?;
    if memcached.is_some() {
        engines.push("memcached".to_owned());
    }
    println!("## Memory\n");
    println!("Keys of 20 to 40 bytes; up to {n} items; bytes resident beyond key and value.\n");
    println!("| value | engine | items | overhead per item | items per MiB |");
    println!("|---|---|---|---|---|");
    for value in &values {
        for engine in &engines {
            let mut args = vec![
                ("--engine", engine.clone()),
                ("--value", value.clone()),
                ("--n", n.to_string()),
            ];
            args.extend(memcached.iter().map(|path| ("--memcached", path.clone())));
            let figures = child::run("mem", &args, 180);
            let cell = |name, digits| cell(figures.as_ref(), name, digits);
            println!(
                "| {value} | {engine} | {} | {} | {} |",
                cell("items", 0),
                cell("overhead", 1),
                cell("per_mib", 0),
            );
        }
    }
    Ok(())
}

pub(crate) fn measure(mut args: Args) -> Result<()> {
    let name = args.need("--engine")?;
    let value_len: usize = args.need("--value")?.parse()?;
    let n: u64 = args.number("--n", 1_000_003)?;
    let program = args.take("--memcached")?;
    args.end()?;
    let keys = Span(20, 40);
    let item = keys.mean() + value_len as u64;
    let shape = Shape { n: n.min(PAYLOAD_MAX / item), keys, values: Span(value_len, value_len) };
    let (bytes, items, payload) = if name == "memcached" {
        let program = program.ok_or("--memcached is missing")?;
        let mut memcached = Memcached::start(Command::new(program), 8 << 10)?;
        let before = machine::rss(memcached.pid())?;
        let items = memcached.fill(shape)?;
        // Its table grows in a thread of its own.
        std::thread::sleep(Duration::from_secs(2));
        (machine::rss(memcached.pid())? - before, items, shape.n * item)
    } else {
        let value = vec![1; value_len];
        let pid = std::process::id();
        let before = machine::rss(pid)?;
        let payload = shape.n * item;
        let capacity = Capacity {
            unit: false,
            // Segcache takes its memory at once: it is filled past its bound, the others are not.
            amount: if name.starts_with("segcache-") { payload } else { payload * 2 + (64 << 20) },
            overhead: 0,
            items: shape.n as usize,
            item_bytes: 0,
        };
        let made = engines::make(&name, &capacity, Driver::Thread)?;
        tput::fill(made.get(), shape, &value);
        std::thread::sleep(Duration::from_millis(300));
        let bytes = machine::rss(pid)? - before;
        let (items, payload) = count(made.get(), shape);
        (bytes, items, payload)
    };
    let mut figures = Figures::default();
    figures.put("items", items as f64);
    figures.put("overhead", (bytes as f64 - payload as f64) / items as f64);
    figures.put("per_mib", items as f64 / (bytes as f64 / f64::from(1 << 20)));
    figures.print();
    Ok(())
}

/// How many items are really there, and their keys' and values' bytes.
fn count(engine: &dyn Engine, shape: Shape) -> (u64, u64) {
    let mut buffer = [0; KEY_LEN_MAX];
    let (mut items, mut payload) = (0, 0);
    for number in 0..shape.n {
        let key = shape.key(number, &mut buffer);
        let mut len = 0;
        if engine.get(key, &mut |value| len += value.len()) {
            items += 1;
            payload += (key.len() + len) as u64;
        }
    }
    (items, payload)
}
