//! What holds in every profile, in the compat one.

#[path = "behaviour.rs"]
mod behaviour;
#[path = "threads.rs"]
pub(super) mod threads;

use super::{UNIX_BASE, at, key, value_of};
use crate::{Builder, Profile, Store};

fn small() -> Builder {
    Store::builder().profile(Profile::Compat).memory_limit(2 << 20)
}
