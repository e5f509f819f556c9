//! The engine inside another program: a bounded cache without a server, with a second tier behind
//! it.
//!
//! `cargo run -p nuthatch-examples --bin embed`

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nuthatch_store::types::{Key, Ttl};
use nuthatch_store::{Cause, Origin, Set, Store, Updated};

/// What left the cache for want of room: key and value.
type Spilled = (Vec<u8>, Vec<u8>);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (spill, spilled) = mpsc::channel();
    let store = build(spill)?;
    let _maintenance = store.spawn_maintenance()?; // stops when dropped

    // Store and look.
    let key = Key::new("greeting")?;
    store.set(key, b"hello", Set { ttl: Ttl::secs(60), ..Set::default() })?;
    let length = store.get(key, |item| item.len());
    println!("the greeting has {} bytes", length.unwrap_or(0));

    once_for_all_who_ask(&store)?;
    for attempt in 1..=4 {
        println!("attempt {attempt}: {}", if is_allowed(&store)? { "allowed" } else { "refused" });
    }
    second_tier(&store, &spilled)?;
    Ok(())
}

/// A small cache that says what it throws out.
fn build(spill: Sender<Spilled>) -> Result<Store, nuthatch_store::ConfigError> {
    Store::builder()
        .memory_limit(1 << 20)
        .time_to_idle(Some(600))
        .listener(&[Cause::Evicted], move |item| {
            // Under the item's lock: copy it and be gone. What was never read is not worth it.
            if item.was_read() {
                let _ = spill.send((item.key().to_vec(), item.to_vec()));
            }
        })
        .build()
}

/// Eight threads want a file that is not in the cache; one of them reads it.
fn once_for_all_who_ask(store: &Store) -> Result<(), Box<dyn std::error::Error>> {
    let n_read = AtomicU32::new(0);
    let read = || -> io::Result<Vec<u8>> {
        n_read.fetch_add(1, Ordering::Relaxed);
        fs::read(file!()).or_else(|_| fs::read("/etc/hostname"))
    };
    let key = Key::new("file")?;
    let fetch = || store.get_or_insert_with(key, Ttl::secs(10), read);
    let lengths = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(fetch)).collect();
        let fetched = threads.into_iter().filter_map(|thread| thread.join().ok());
        fetched.map(|file| file.map(|file| file.as_bytes().len())).collect::<io::Result<Vec<_>>>()
    })?;
    let from = store.get_or_insert_with(key, Ttl::secs(10), read)?.origin();
    assert_eq!(from, Origin::Cache);
    println!("{} threads have the file, {} has read it", lengths.len(), n_read.into_inner());
    Ok(())
}

/// Three attempts a minute: read, decide and write under the key's lock.
fn is_allowed(store: &Store) -> Result<bool, Box<dyn std::error::Error>> {
    let updated = store.update(Key::new("attempts")?, |entry| {
        let attempts = entry.item().and_then(|item| item.contiguous()?.first().copied());
        match attempts {
            None => entry.put([1], Ttl::secs(60)),
            Some(n) if n < 3 => entry.replace([n + 1]),
            Some(_) => entry.keep(),
        }
    })?;
    Ok(!matches!(updated, Updated::Kept(_)))
}

/// More than there is room for: what was read and had to go is in the second tier.
fn second_tier(
    store: &Store,
    spilled: &Receiver<Spilled>,
) -> Result<(), Box<dyn std::error::Error>> {
    for n in 0..200 {
        let name = format!("page{n}");
        let key = Key::new(&name)?;
        store.set(key, &[b'x'; 20_000], Set::default())?;
        if n % 2 == 0 {
            store.get(key, |_| ());
        }
    }
    store.evict(100_000);
    let tier: HashMap<_, _> = spilled.try_iter().collect();
    println!("{} items in the cache, {} in the second tier", store.len(), tier.len());
    Ok(())
}
