//! spymemcached: whether Java serialized it, whether it is packed, and the type in bits 8 to 15.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::super::compress::unpack_gzip;
use super::super::{Codec, CodecError, Encoded, text};
use super::{Foreign, LIMIT, Serializer};

/// Values of spymemcached's `SerializingTranscoder`, which AWS' Java client has too. Integers are
/// written as `Long` and floats as `Double`; every width is read. Packed values are read with the
/// feature `zlib`.
#[derive(Clone, Copy, Debug)]
pub struct Spymemcached {
    limit: usize,
}

impl Spymemcached {
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

impl Default for Spymemcached {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Spymemcached {
    type Value = Foreign;

    fn encode(&self, value: &Foreign) -> Result<Encoded, CodecError> {
        Ok(match value {
            Foreign::Text(text) => Encoded::new(text.clone(), 0),
            Foreign::Bytes(data) => Encoded::new(data.clone(), BYTES),
            Foreign::Bool(truth) => Encoded::new(if *truth { "1" } else { "0" }, BOOLEAN),
            Foreign::Integer(number) => packed(number.cast_unsigned(), LONG),
            Foreign::Millis(millis) => packed(millis.cast_unsigned(), DATE),
            Foreign::Float(number) => packed(number.to_bits(), DOUBLE),
            Foreign::Serialized(Serializer::Java, data) => Encoded::new(data.clone(), SERIALIZED),
            Foreign::Null | Foreign::Serialized(..) => {
                return Err(CodecError::Unsupported("Java"));
            }
        })
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Foreign, CodecError> {
        let is_packed = flags.0 & PACKED != 0;
        let data = if is_packed { unpack_gzip(&data, self.limit)? } else { data };
        // Widths below 64 bits are extended by their sign.
        let narrow = |len| {
            let word = u32::try_from(unsigned(&data, len)?).unwrap_or_default();
            Ok(Foreign::Integer(word.cast_signed().into()))
        };
        match flags.0 & !PACKED {
            0 => text(data).map(Foreign::Text),
            SERIALIZED => Ok(Foreign::Serialized(Serializer::Java, data)),
            BYTES => Ok(Foreign::Bytes(data)),
            BOOLEAN => Ok(Foreign::Bool(*data == *b"1")),
            INT => narrow(4),
            BYTE => match *data {
                [] => Ok(Foreign::Integer(0)),
                [byte] => Ok(Foreign::Integer(byte.cast_signed().into())),
                _ => Err(NUMBER),
            },
            LONG => Ok(Foreign::Integer(unsigned(&data, 8)?.cast_signed())),
            DATE => Ok(Foreign::Millis(unsigned(&data, 8)?.cast_signed())),
            FLOAT => {
                let bits = u32::try_from(unsigned(&data, 4)?).unwrap_or_default();
                Ok(Foreign::Float(f32::from_bits(bits).into()))
            }
            DOUBLE => Ok(Foreign::Float(f64::from_bits(unsigned(&data, 8)?))),
            _ => Err(CodecError::Flags(flags.0)),
        }
    }
}

/// A number without its leading zero bytes.
fn packed(number: u64, flags: u32) -> Encoded {
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    Encoded::new(bytes[start..].to_vec(), flags)
}

/// A number of at most `len` bytes, the highest first.
fn unsigned(data: &[u8], len: usize) -> Result<u64, CodecError> {
    if data.len() > len {
        return Err(NUMBER);
    }
    Ok(data.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

const NUMBER: CodecError = CodecError::Malformed("number of Java");

const SERIALIZED: u32 = 1;
const PACKED: u32 = 2;
const BOOLEAN: u32 = 1 << 8;
const INT: u32 = 2 << 8;
const LONG: u32 = 3 << 8;
const DATE: u32 = 4 << 8;
const BYTE: u32 = 5 << 8;
const FLOAT: u32 = 6 << 8;
const DOUBLE: u32 = 7 << 8;
const BYTES: u32 = 8 << 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width() {
        let read = |data: &[u8], flags| {
            Spymemcached::new().decode(Bytes::copy_from_slice(data), ItemFlags(flags))
        };
        assert_eq!(read(&[], INT).unwrap(), Foreign::Integer(0));
        assert_eq!(read(&[1, 0], INT).unwrap(), Foreign::Integer(256));
        assert_eq!(read(&[0xff; 4], INT).unwrap(), Foreign::Integer(-1));
        assert_eq!(read(&[0xff; 4], LONG).unwrap(), Foreign::Integer(0xffff_ffff));
        assert_eq!(read(&[0xff], BYTE).unwrap(), Foreign::Integer(-1));
        assert_eq!(read(&[0x3f, 0x80, 0, 0], FLOAT).unwrap(), Foreign::Float(1.0));
        assert_eq!(read(&[1], DATE).unwrap(), Foreign::Millis(1));
        assert!(read(&[0; 5], INT).is_err());
        assert!(read(&[0; 9], LONG).is_err());
        assert!(read(&[0; 2], BYTE).is_err());
        assert!(matches!(read(b"x", 9 << 8), Err(CodecError::Flags(_))));
    }
}
