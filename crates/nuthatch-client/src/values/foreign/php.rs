//! php-memcached: the type in bits 0 to 3 of the flags, how it is packed in bits 4 to 15, and what
//! a user has set above.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::super::compress::unpack_zlib;
use super::super::{Codec, CodecError, Encoded, number};
use super::{Foreign, LIMIT, Serializer, fastlz};

/// php-memcached's values, of any of its serializers. Those packed by FastLZ, which is its
/// default, are read, and those packed by zlib with the feature `zlib`.
///
/// The upper 16 bits of flags, which belong to the user there, are ignored and written 0.
#[derive(Clone, Copy, Debug)]
pub struct Php {
    limit: usize,
}

impl Php {
    /// With a limit of 16 MiB on what is unpacked.
    pub fn new() -> Self {
        Self { limit: LIMIT }
    }

    /// Unpacks no more than so many bytes.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes }
    }

    /// A packed value begins with its length unpacked, as the machine of the writer keeps a number:
    /// the lowest byte first wherever PHP is used.
    fn unpacked(self, data: &[u8], packing: u32) -> Result<Bytes, CodecError> {
        let (len, data) = data.split_first_chunk().ok_or(CodecError::Malformed("packed value"))?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > self.limit {
            return Err(CodecError::TooLarge(self.limit));
        }
        let unpacked = match packing {
            packing if packing & FASTLZ != 0 => fastlz::unpack(data, len)?.into(),
            packing if packing & ZLIB != 0 => unpack_zlib(data, len)?,
            packing if packing & ZSTD != 0 => return Err(CodecError::Feature("zstd")),
            _ => return Err(CodecError::Flags(packing)),
        };
        (unpacked.len() == len).then_some(unpacked).ok_or(CodecError::Malformed("packed value"))
    }
}

impl Default for Php {
    fn default() -> Self {
        Self::new()
    }
}

impl Codec for Php {
    type Value = Foreign;

    fn encode(&self, value: &Foreign) -> Result<Encoded, CodecError> {
        Ok(match value {
            Foreign::Bytes(data) => Encoded::new(data.clone(), STRING),
            Foreign::Text(text) => Encoded::new(text.clone(), STRING),
            Foreign::Integer(number) => Encoded::new(number.to_string(), LONG),
            Foreign::Float(number) if number.is_infinite() => {
                let text = if *number > 0.0 { "Infinity" } else { "-Infinity" };
                Encoded::new(text, DOUBLE)
            }
            Foreign::Float(number) => Encoded::new(number.to_string(), DOUBLE),
            Foreign::Bool(truth) => Encoded::new(if *truth { "1" } else { "" }, BOOL),
            Foreign::Serialized(serializer, data) => {
                let found = SERIALIZERS.iter().find(|(known, _)| known == serializer);
                let (_, kind) = found.ok_or(CodecError::Unsupported("PHP"))?;
                Encoded::new(data.clone(), *kind)
            }
            Foreign::Null | Foreign::Millis(_) => return Err(CodecError::Unsupported("PHP")),
        })
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Foreign, CodecError> {
        let packing = flags.0 >> 4 & 0xfff;
        let data = if packing & PACKED == 0 { data } else { self.unpacked(&data, packing)? };
        match flags.0 & 0xf {
            STRING => Ok(Foreign::Bytes(data)),
            LONG => number(&data).map(Foreign::Integer),
            DOUBLE => {
                let number = str::from_utf8(&data).ok().and_then(|text| text.parse().ok());
                number.map(Foreign::Float).ok_or(CodecError::Malformed("number of PHP"))
            }
            BOOL => Ok(Foreign::Bool(data.first() == Some(&b'1'))),
            kind => {
                let found = SERIALIZERS.iter().find(|(_, known)| *known == kind);
                let (serializer, _) = found.ok_or(CodecError::Flags(flags.0))?;
                Ok(Foreign::Serialized(*serializer, data))
            }
        }
    }
}

const STRING: u32 = 0;
const LONG: u32 = 1;
const DOUBLE: u32 = 2;
const BOOL: u32 = 3;
const SERIALIZERS: [(Serializer, u32); 4] = [
    (Serializer::Php, 4),
    (Serializer::Igbinary, 5),
    (Serializer::Json, 6),
    (Serializer::Msgpack, 7),
];

const PACKED: u32 = 1;
const ZLIB: u32 = 1 << 1;
const FASTLZ: u32 = 1 << 2;
const ZSTD: u32 = 1 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_php_writes() {
        let read = |data: &str, flags| {
            Php::new().decode(Bytes::copy_from_slice(data.as_bytes()), ItemFlags(flags))
        };
        assert_eq!(read("x", 0).unwrap(), Foreign::Bytes("x".into()));
        assert_eq!(read("x", 0xffff_0000).unwrap(), Foreign::Bytes("x".into()), "user flags");
        assert_eq!(read("-12", 1).unwrap(), Foreign::Integer(-12));
        assert_eq!(read("1.5E+25", 2).unwrap(), Foreign::Float(1.5e25));
        assert_eq!(read("-Infinity", 2).unwrap(), Foreign::Float(f64::NEG_INFINITY));
        assert_eq!(read("1", 3).unwrap(), Foreign::Bool(true));
        assert_eq!(read("", 3).unwrap(), Foreign::Bool(false));
        let array = Foreign::Serialized(Serializer::Php, "a:0:{}".into());
        assert_eq!(read("a:0:{}", 4).unwrap(), array);
        assert!(matches!(read("x", 8), Err(CodecError::Flags(8))));
    }

    #[test]
    fn a_length_that_is_a_lie_is_found_out() {
        let packed = |len: u32| {
            // FastLZ: seven literal bytes.
            let data = [&len.to_le_bytes()[..], &[6], b"abcdefg"].concat();
            Php::new().limit(100).decode(data.into(), ItemFlags(0x50))
        };
        assert_eq!(packed(7).unwrap(), Foreign::Bytes("abcdefg".into()));
        assert!(matches!(packed(8), Err(CodecError::Malformed(_))));
        assert!(matches!(packed(6), Err(CodecError::Malformed(_))));
        assert!(matches!(packed(101), Err(CodecError::TooLarge(100))));
    }
}
