//! What is said about values: flags, CAS numbers, and the outcomes of commands.

/// The 32 bits that a client keeps beside a value; the server never looks at them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct ItemFlags(pub u32);

/// The number that changes whenever an item does ("compare and swap unique" of the protocol).
/// 0 is never given to an item by the server; a server run without CAS (`-C`) answers 0.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name")]
pub struct Cas(pub u64);

/// The ways to store a value: the classic verbs, and the modes of `ms`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum StoreMode {
    /// Store whatever is there.
    #[default]
    Set,
    /// Store only where nothing is.
    Add,
    /// Store only where something is.
    Replace,
    /// Put the new bytes after the old ones; flags and life span stay the old item's.
    Append,
    /// Put the new bytes before the old ones; flags and life span stay the old item's.
    Prepend,
}

/// The outcome of a store command.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum Stored {
    /// It is in the cache.
    Stored,
    /// The condition of the mode did not hold.
    NotStored,
    /// The item changed since the CAS number was read.
    Exists,
    /// A compare-and-swap found no item.
    NotFound,
}

/// The outcome of a delete command.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum Deleted {
    /// It was there and is gone.
    Deleted,
    /// Nothing was there.
    NotFound,
    /// The CAS number asked for did not match.
    Exists,
}

/// Which way an arithmetic command counts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Arith {
    /// Up, wrapping at 2^64.
    #[default]
    Incr,
    /// Down, stopping at 0.
    Decr,
}

/// Why a value cannot be counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ArithError {
    /// The value is not an unsigned decimal number up to `u64::MAX`; see
    /// [`arith::parse`](crate::arith::parse) for what surrounds one.
    #[error("cannot increment or decrement non-numeric value")]
    NonNumeric,
}
