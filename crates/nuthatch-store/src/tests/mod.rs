//! Tests of the engine as a whole.

mod compat;
mod compute;
mod dumps;
mod entry;
mod expiry;
mod index;
mod lean;
mod leaving;
mod ledger;
mod model;
mod modes;
mod moving;
mod overwriting;
mod pressure;
mod s3fifo;
mod telling;

use crate::types::{Clock, Key};
use crate::{Builder, Profile, Store};

/// A Unix time to begin tests at.
const UNIX_BASE: u64 = 1_700_000_000;

fn key(text: &str) -> Key<'_> {
    Key::new(text).unwrap()
}

/// Two pages of memcached's classes.
fn small() -> Builder {
    Store::builder().profile(Profile::Compat).memory_limit(2 << 20)
}

fn at(store: &Store, now: u32) {
    store.set_clock(Clock { now, unix_base: UNIX_BASE });
}

fn value_of(store: &Store, text: &str) -> Option<Vec<u8>> {
    store.get(key(text), |item| item.to_vec())
}
