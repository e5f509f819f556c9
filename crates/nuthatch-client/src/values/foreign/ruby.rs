//! dalli: whether Marshal made it, and whether it is packed.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::super::compress::unpack_zlib;
use super::super::{Codec, CodecError, Encoded};
use super::{Foreign, LIMIT, Serializer, marshal};

/// dalli's values with its own serializer and compressor. It marshals everything that is not stored
/// `raw: true`, so strings, numbers, `true`, `false` and `nil` are understood within Marshal; bytes
/// are written as raw values. Packed values are read with the feature `zlib`.
#[derive(Clone, Copy, Debug)]
pub struct Dalli {
    limit: usize,
}

impl Dalli {
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

impl Default for Dalli {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Dalli {
    type Value = Foreign;

    fn encode(&self, value: &Foreign) -> Result<Encoded, CodecError> {
        Ok(match value {
            Foreign::Bytes(data) => Encoded::new(data.clone(), 0),
            Foreign::Serialized(Serializer::Marshal, data) => {
                Encoded::new(data.clone(), SERIALIZED)
            }
            other => {
                let data = marshal::dump(other).ok_or(CodecError::Unsupported("Ruby"))?;
                Encoded::new(data, SERIALIZED)
            }
        })
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Foreign, CodecError> {
        let is_packed = flags.0 & PACKED != 0;
        let data = if is_packed { unpack_zlib(&data, self.limit)? } else { data };
        match flags.0 & !PACKED {
            0 => Ok(Foreign::Bytes(data)),
            SERIALIZED => Ok(marshal::load(&data)
                .unwrap_or_else(|| Foreign::Serialized(Serializer::Marshal, data))),
            _ => Err(CodecError::Flags(flags.0)),
        }
    }
}

const SERIALIZED: u32 = 1;
const PACKED: u32 = 2;
