//! The engine inside another program: a bounded cache without a server.
//!
//! `cargo run -p nuthatch-examples --bin embed`

use nuthatch_store::types::{Key, Ttl};
use nuthatch_store::{Set, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::builder().memory_limit(64 << 20).build()?;
    let _maintenance = store.spawn_maintenance()?; // stops when dropped
    let key = Key::new("greeting")?;
    store.set(key, b"hello", Set { ttl: Ttl::secs(60), ..Set::default() })?;
    let length = store.get(key, |item| item.len());
    assert_eq!(length, Some(5));
    println!("the greeting has {} bytes", length.unwrap_or(0));
    Ok(())
}
