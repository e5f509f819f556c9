//! Packing values, and unpacking no more than one wants to hold.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::{Codec, CodecError, Encoded};

/// How values are packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Packing {
    /// Not at all; packed values of others are still unpacked.
    None,
    /// LZ4, a block behind its length unpacked, in four bytes, the lowest first. Costs little, and
    /// halves what repeats itself.
    #[cfg(feature = "lz4")]
    Lz4,
    /// zlib, level 6. Packs better, and takes ten times as long.
    #[cfg(feature = "zlib")]
    Zlib,
}

/// A codec that packs what another makes, where it is long and becomes shorter.
#[derive(Clone, Copy, Debug)]
pub struct Compressed<C> {
    inner: C,
    packing: Packing,
    threshold: usize,
    limit: usize,
}

impl<C: Codec> Compressed<C> {
    /// What is packed if nothing else is said, in bytes and more: below it there is little to gain,
    /// a packet on the network being 1.5 KB.
    pub const THRESHOLD: usize = 2048;

    /// The most bytes to unpack if nothing else is said.
    pub const LIMIT: usize = 16 << 20;

    /// Packs by LZ4 if that is built in, or else by zlib, or else not.
    pub fn new(inner: C) -> Self {
        let packing = Packing::None;
        #[cfg(feature = "zlib")]
        let packing = {
            let _ = packing;
            Packing::Zlib
        };
        #[cfg(feature = "lz4")]
        let packing = {
            let _ = packing;
            Packing::Lz4
        };
        Self { inner, packing, threshold: Self::THRESHOLD, limit: Self::LIMIT }
    }

    /// Packs in this way.
    #[must_use]
    pub fn packing(self, packing: Packing) -> Self {
        Self { packing, ..self }
    }

    /// Packs only what has at least so many bytes.
    #[must_use]
    pub fn threshold(self, bytes: usize) -> Self {
        Self { threshold: bytes, ..self }
    }

    /// Unpacks no more than so many bytes, whatever the value says it has: more is
    /// [`CodecError::TooLarge`], and takes no more memory than this.
    #[must_use]
    pub fn limit(self, bytes: usize) -> Self {
        Self { limit: bytes, ..self }
    }
}

impl<C: Codec> Codec for Compressed<C> {
    type Value = C::Value;

    fn encode(&self, value: &C::Value) -> Result<Encoded, CodecError> {
        let plain = self.inner.encode(value)?;
        // What other kinds of codecs keep in these bits cannot be told apart from ours.
        if plain.flags.0 & PACKING_MASK != 0 {
            return Err(CodecError::Flags(plain.flags.0));
        }
        if plain.data.len() < self.threshold {
            return Ok(plain);
        }
        let packed: Option<(Vec<u8>, u32)> = match self.packing {
            Packing::None => None,
            #[cfg(feature = "lz4")]
            Packing::Lz4 => Some((pack_lz4(&plain.data), LZ4)),
            #[cfg(feature = "zlib")]
            Packing::Zlib => Some((pack_zlib(&plain.data), ZLIB)),
        };
        Ok(match packed {
            Some((packed, packing)) if packed.len() < plain.data.len() => {
                Encoded::new(packed, plain.flags.0 | packing)
            }
            _ => plain,
        })
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<C::Value, CodecError> {
        let data = match flags.0 & PACKING_MASK {
            0 => data,
            LZ4 => unpack_lz4(&data, self.limit)?,
            ZLIB => unpack_zlib(&data, self.limit)?,
            _ => return Err(CodecError::Flags(flags.0)),
        };
        self.inner.decode(data, ItemFlags(flags.0 & !PACKING_MASK))
    }
}

#[cfg(feature = "lz4")]
fn pack_lz4(data: &[u8]) -> Vec<u8> {
    // A length of more than 32 bits would be cut, but no server takes such a value.
    lz4_flex::block::compress_prepend_size(data)
}

#[cfg(feature = "lz4")]
fn unpack_lz4(data: &[u8], limit: usize) -> Result<Bytes, CodecError> {
    const BAD: CodecError = CodecError::Malformed("LZ4");
    let (len, block) = data.split_first_chunk().ok_or(BAD)?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > limit {
        return Err(CodecError::TooLarge(limit));
    }
    // A byte unpacks to 255 at most: who says more lies, and gets no memory for it.
    if len > block.len().saturating_mul(255) {
        return Err(BAD);
    }
    let unpacked = lz4_flex::block::decompress(block, len).map_err(|_| BAD)?;
    (unpacked.len() == len).then(|| unpacked.into()).ok_or(BAD)
}

#[cfg(not(feature = "lz4"))]
fn unpack_lz4(_: &[u8], _: usize) -> Result<Bytes, CodecError> {
    Err(CodecError::Feature("LZ4"))
}

#[cfg(feature = "zlib")]
fn pack_zlib(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;

    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    let packed = packer.write_all(data).and_then(|()| packer.finish());
    // Writing to memory cannot fail.
    packed.unwrap_or_else(|_| data.to_vec())
}

#[cfg(feature = "zlib")]
pub(super) fn unpack_zlib(data: &[u8], limit: usize) -> Result<Bytes, CodecError> {
    read_all(flate2::read::ZlibDecoder::new(data), limit, "zlib")
}

#[cfg(feature = "zlib")]
pub(super) fn unpack_gzip(data: &[u8], limit: usize) -> Result<Bytes, CodecError> {
    read_all(flate2::read::GzDecoder::new(data), limit, "gzip")
}

#[cfg(feature = "zlib")]
fn read_all(
    reader: impl std::io::Read,
    limit: usize,
    name: &'static str,
) -> Result<Bytes, CodecError> {
    use std::io::Read as _;

    let mut unpacked = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(&mut unpacked).map_err(|_| CodecError::Malformed(name))?;
    if unpacked.len() > limit {
        return Err(CodecError::TooLarge(limit));
    }
    Ok(unpacked.into())
}

#[cfg(not(feature = "zlib"))]
pub(super) fn unpack_zlib(_: &[u8], _: usize) -> Result<Bytes, CodecError> {
    Err(CodecError::Feature("zlib"))
}

#[cfg(not(feature = "zlib"))]
pub(super) fn unpack_gzip(_: &[u8], _: usize) -> Result<Bytes, CodecError> {
    Err(CodecError::Feature("zlib"))
}

/// Where flags say how a value is packed.
const PACKING_MASK: u32 = 0xf0;
const LZ4: u32 = 0x10;
const ZLIB: u32 = 0x20;

#[cfg(all(test, feature = "lz4", feature = "zlib"))]
mod tests {
    use proptest::prelude::*;

    use super::super::{Raw, Text};
    use super::*;

    const BOTH: [Packing; 2] = [Packing::Lz4, Packing::Zlib];

    #[test]
    fn only_what_is_long_and_gets_shorter_is_packed() {
        for packing in BOTH {
            let codec = Compressed::new(Text).packing(packing).threshold(100);
            let flags = |text: &str| codec.encode(&text.to_owned()).unwrap().flags.0;
            assert_eq!(flags(&"a".repeat(99)), 1);
            assert_eq!(flags(&"a".repeat(100)), if packing == Packing::Lz4 { 0x11 } else { 0x21 });
            let mut noise = 1_u32;
            let noise = std::iter::repeat_with(|| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            });
            let noise: Vec<u8> = noise.take(300).collect();
            let codec = Compressed::new(Raw).packing(packing).threshold(100);
            assert_eq!(codec.encode(&noise.clone().into()).unwrap(), Encoded::new(noise, 0));
        }
        let unpacked = Compressed::new(Text).packing(Packing::None);
        assert_eq!(unpacked.encode(&"a".repeat(9999)).unwrap().flags.0, 1);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        for packing in BOTH {
            let codec = Compressed::new(Raw).packing(packing);
            let bomb = codec.encode(&vec![0; 10 << 20].into()).unwrap();
            assert!(bomb.data.len() < 50_000);
            let unpack = |limit| codec.limit(limit).decode(bomb.data.clone(), bomb.flags);
            assert_eq!(unpack(10 << 20).unwrap().len(), 10 << 20);
            assert!(matches!(unpack((10 << 20) - 1), Err(CodecError::TooLarge(_))));
        }
    }

    #[test]
    fn a_length_that_is_a_lie_is_found_out() {
        let block = pack_lz4(&[7; 1000]);
        assert_eq!(unpack_lz4(&block, 1000).unwrap(), [7; 1000][..]);
        for lie in [0, 999, 1001, 4096] {
            let lie = [&u32::to_le_bytes(lie)[..], &block[4..]].concat();
            assert!(matches!(unpack_lz4(&lie, 4096), Err(CodecError::Malformed("LZ4"))));
        }
        assert!(matches!(unpack_lz4(&block[..3], 4096), Err(CodecError::Malformed("LZ4"))));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            value in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..40),
            repeat in 1..20_usize,
        ) {
            let value = Bytes::from(value.concat().repeat(repeat));
            for packing in BOTH {
                let codec = Compressed::new(Raw).packing(packing).threshold(0);
                let stored = codec.encode(&value).unwrap();
                prop_assert!(stored.data.len() <= value.len());
                prop_assert_eq!(codec.decode(stored.data, stored.flags).unwrap(), &value);
            }
        }

        #[test]
        fn bytes_of_a_hostile_server_do_no_harm(
            mut data in prop::collection::vec(any::<u8>(), 0..200),
            kind in 0..4_usize,
            flags in 0..0x40_u32,
        ) {
            let start: &[u8] = [&[][..], &[0xff, 0, 0, 0, 0x1f], &[0x78, 0x9c], &[0x1f, 0x8b, 8]][kind];
            data.splice(..0, start.iter().copied());
            let codec = Compressed::new(Raw).limit(1000);
            if let Ok(value) = codec.decode(data.clone().into(), ItemFlags(flags)) {
                prop_assert!(value.len() <= 1000);
            }
            let _ = unpack_gzip(&data, 1000);
        }
    }
}
