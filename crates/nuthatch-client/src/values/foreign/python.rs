//! Clients for Python that have python-memcached's flags.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::super::compress::unpack_zlib;
use super::super::{Codec, CodecError, Encoded, number, text};
use super::{Foreign, LIMIT, Serializer};

/// Values of pymemcache with `serde.pickle_serde` or `compressed_serde`, of pylibmc and
/// python-memcached. Those packed by zlib are read with the feature `zlib`.
///
/// Not of python-binary-memcached: there, what means text here means bytes, and no flags mean text.
#[derive(Clone, Copy, Debug)]
pub struct Python {
    limit: usize,
}

impl Python {
    /// With a limit of 16 MiB on what is unpacked.
    pub fn new() -> Self {
        Self { limit: LIMIT }
    }

    /// Unpacks no more than so many bytes.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes }
    }
}

impl Default for Python {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Python {
    type Value = Foreign;

    fn encode(&self, value: &Foreign) -> Result<Encoded, CodecError> {
        Ok(match value {
            Foreign::Bytes(data) => Encoded::new(data.clone(), 0),
            Foreign::Text(text) => Encoded::new(text.clone(), TEXT),
            Foreign::Integer(number) => Encoded::new(number.to_string(), INTEGER),
            Foreign::Serialized(Serializer::Pickle, data) => Encoded::new(data.clone(), PICKLE),
            _ => return Err(CodecError::Unsupported("Python")),
        })
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Foreign, CodecError> {
        let is_packed = flags.0 & ZLIB != 0;
        let data = if is_packed { unpack_zlib(&data, self.limit)? } else { data };
        match flags.0 & !ZLIB {
            0 => Ok(Foreign::Bytes(data)),
            TEXT => text(data).map(Foreign::Text),
            INTEGER | LONG => number(&data).map(Foreign::Integer),
            PICKLE => Ok(Foreign::Serialized(Serializer::Pickle, data)),
            _ => Err(CodecError::Flags(flags.0)),
        }
    }
}

const PICKLE: u32 = 1;
const INTEGER: u32 = 1 << 1;
/// An integer too, of the time when Python had two kinds.
const LONG: u32 = 1 << 2;
const ZLIB: u32 = 1 << 3;
const TEXT: u32 = 1 << 4;
