//! What values mean: bytes and flags made of them, and they of bytes and flags.
//!
//! A server keeps bytes and 32 bits of flags, and clients agree among themselves what those say. A
//! [`Codec`] is such an agreement. There are ours, for clusters that only this client uses:
//!
//! | codec | value | kind |
//! |---|---|---|
//! | [`Raw`] | [`Bytes`] | 0 |
//! | [`Text`] | `String` | 1 |
//! | [`Number`] | `i64`, as decimal text, which `incr` and `decr` can count if it is not negative | 2 |
//! | `Json`, with the feature `json` | whatever serde can make JSON of | 3 |
//! | [`Compressed`] | that of another codec, packed by LZ4 or zlib with the feature `lz4` or `zlib` | as that |
//!
//! and those of other clients in [`foreign`]. Flags of ours are the kind in bits 0 to 3 and how it is
//! packed in bits 4 to 7 (0 not, 1 LZ4, 2 zlib); all others are 0. What has kind 0 is taken by each
//! of the first four, since tools that set no flags store it.
//!
//! ```
//! use nuthatch_client::values::{Codec, Compressed, Text};
//!
//! let text = Compressed::new(Text);
//! let stored = text.encode(&"nuthatch ".repeat(1000))?;
//! # #[cfg(any(feature = "lz4", feature = "zlib"))]
//! assert!(stored.data.len() < 1000);
//! assert_eq!(text.decode(stored.data, stored.flags)?.len(), 9000);
//! # Ok::<(), nuthatch_client::values::CodecError>(())
//! ```
//!
//! A decoder takes whatever a server sends: it fails, and never panics, and the memory it takes is a
//! small multiple of the value, or within a limit where something is unpacked.

mod compress;
pub mod foreign;
#[cfg(feature = "json")]
mod json;
mod plain;

use bytes::Bytes;
use nuthatch_types::ItemFlags;

// The public interface.
pub use compress::{Compressed, Packing};
#[cfg(feature = "json")]
pub use json::Json;
pub use plain::{Number, Raw, Text};

/// An agreement on what bytes and flags mean.
///
/// Give [`Encoded::data`] and [`Encoded::flags`] to a store command, and what a retrieval answers to
/// [`decode`](Self::decode).
pub trait Codec {
    /// What it encodes and decodes.
    type Value;

    /// Makes bytes and flags of a value.
    ///
    /// # Errors
    ///
    /// [`CodecError`] for a value that the agreement has no form for.
    fn encode(&self, value: &Self::Value) -> Result<Encoded, CodecError>;

    /// Makes a value of what a server had.
    ///
    /// # Errors
    ///
    /// [`CodecError`] for bytes or flags that are none of this codec's.
    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Self::Value, CodecError>;
}

/// What is stored for a value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a server keeps these two and nothing else")]
pub struct Encoded {
    /// The bytes.
    pub data: Bytes,
    /// The number beside them.
    pub flags: ItemFlags,
}

impl Encoded {
    fn new(data: impl Into<Bytes>, flags: u32) -> Self {
        Self { data: data.into(), flags: ItemFlags(flags) }
    }
}

/// Why a value cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Somebody else's value, or one of another codec.
    #[error("flags {0:#x} are not of this codec")]
    Flags(u32),
    /// Packed in a way that this build cannot unpack.
    #[error("value is packed by {0}, which is not built in")]
    Feature(&'static str),
    /// The bytes are not what the flags say.
    #[error("value is no {0}")]
    Malformed(&'static str),
    /// Unpacked, it would be longer than the limit, in bytes.
    #[error("value has more than {0} bytes when unpacked")]
    TooLarge(usize),
    /// The other client has no form for such a value.
    #[error("{0} has no form for this value")]
    Unsupported(&'static str),
    /// serde's reason.
    #[cfg(feature = "json")]
    #[error("value is no JSON of this type: {0}")]
    Json(#[from] serde_json::Error),
}

/// Kinds of values in the lower four bits of our flags.
mod kind {
    pub(super) const BYTES: u32 = 0;
    pub(super) const TEXT: u32 = 1;
    pub(super) const NUMBER: u32 = 2;
    #[cfg(feature = "json")]
    pub(super) const JSON: u32 = 3;
}

/// Refuses flags of another kind, or of a packed value.
fn expect_kind(flags: ItemFlags, kind: u32) -> Result<(), CodecError> {
    let is_ours = flags.0 == kind || flags.0 == kind::BYTES;
    is_ours.then_some(()).ok_or(CodecError::Flags(flags.0))
}

/// Bytes as text, in the memory they have.
fn text(data: Bytes) -> Result<String, CodecError> {
    String::from_utf8(data.into()).map_err(|_| CodecError::Malformed("UTF-8"))
}

/// Decimal text as a number. Blanks at its end are what `decr` leaves behind.
fn number(data: &[u8]) -> Result<i64, CodecError> {
    let text = str::from_utf8(data).ok().map(|text| text.trim_end_matches(' '));
    text.and_then(|text| text.parse().ok()).ok_or(CodecError::Malformed("number of 64 bits"))
}
