//! What clients hash keys with.
//!
//! Hash functions that are what their names say come from crates. What is ours is here because it
//! is not: libhashkit reads bytes as signed characters, seeds murmur with the key's length, and
//! keeps 15 bits of a CRC; clients in Java and JavaScript hash UTF-16 units.

mod hashkit;
mod text;

use std::fmt;

pub(super) use text::{FNV_JS_BASIS, Murmur3, abs31, chars, fnv_js, java31, murmur3_32};

/// The hash functions of libmemcached (libhashkit) and twemproxy, bit for bit.
///
/// ```
/// use nuthatch_client::route::HashKind;
///
/// assert_eq!(HashKind::Crc32.hash(b"123456789"), 0xcbf4_3926);
/// assert_eq!("fnv1a_64".parse(), Ok(HashKind::Fnv1a64));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum HashKind {
    /// `one_at_a_time`, which libmemcached calls `default`: Jenkins', over signed characters.
    #[default]
    OneAtATime,
    /// `md5`: the first four bytes of the MD5 digest, the lowest first.
    Md5,
    /// `crc16`: CRC-16/XMODEM that keeps the bits it shifts out above the 16 (twemproxy alone).
    Crc16,
    /// `crc`: 15 bits out of the middle of CRC-32. libmemcached's, and what twemproxy calls
    /// `crc32`. On a ring it sends every key to the node of the lowest point.
    Crc,
    /// `crc32a`: the real CRC-32 (twemproxy alone).
    Crc32,
    /// `fnv1_64`: the lower half of FNV-1 in 64 bits, over signed characters.
    Fnv1_64,
    /// `fnv1a_64`: FNV-1a of 32 bits of state with the constants for 64, cut off; over signed
    /// characters. twemproxy's default.
    Fnv1a64,
    /// `fnv1_32`: FNV-1 in 32 bits, over signed characters.
    Fnv1_32,
    /// `fnv1a_32`: FNV-1a in 32 bits, over signed characters.
    Fnv1a32,
    /// `hsieh`: SuperFastHash. Debian's libmemcached is built without it.
    Hsieh,
    /// `murmur`: MurmurHash2, seeded with the key's length.
    Murmur,
    /// `jenkins`: lookup3, with 13 as what it starts from.
    Jenkins,
    /// `murmur3`: MurmurHash3 in 32 bits, seeded with the key's length (libmemcached alone).
    Murmur3,
}

impl HashKind {
    /// The hash of a key.
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            Self::OneAtATime => hashkit::one_at_a_time(key),
            Self::Md5 => md5_first(key),
            Self::Crc16 => hashkit::crc16(key),
            Self::Crc => (crc32fast::hash(key) >> 16) & 0x7fff,
            Self::Crc32 => crc32fast::hash(key),
            Self::Fnv1_64 => hashkit::fnv1_64(key),
            Self::Fnv1a64 => hashkit::fnv1a_64(key),
            Self::Fnv1_32 => hashkit::fnv1_32(key),
            Self::Fnv1a32 => hashkit::fnv1a_32(key),
            Self::Hsieh => hashkit::hsieh(key),
            Self::Murmur => hashkit::murmur2(key),
            Self::Jenkins => hashkit::jenkins(key),
            Self::Murmur3 => hashkit::murmur3(key),
        }
    }

    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::OneAtATime,
        Self::Md5,
        Self::Crc16,
        Self::Crc,
        Self::Crc32,
        Self::Fnv1_64,
        Self::Fnv1a64,
        Self::Fnv1_32,
        Self::Fnv1a32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::Murmur3,
    ];

    /// The name as libmemcached's and twemproxy's configurations have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OneAtATime => "one_at_a_time",
            Self::Md5 => "md5",
            Self::Crc16 => "crc16",
            Self::Crc => "crc",
            Self::Crc32 => "crc32a",
            Self::Fnv1_64 => "fnv1_64",
            Self::Fnv1a64 => "fnv1a_64",
            Self::Fnv1_32 => "fnv1_32",
            Self::Fnv1a32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::Murmur3 => "murmur3",
        }
    }
}

impl fmt::Display for HashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The first four bytes of the MD5 digest.
fn md5_first(key: &[u8]) -> u32 {
    words(&md5(key))[0]
}

/// The MD5 digest.
pub(super) fn md5(bytes: &[u8]) -> [u8; 16] {
    use md5::Digest as _;
    md5::Md5::digest(bytes).into()
}

/// A digest's first sixteen bytes as four numbers, the lowest byte first.
pub(super) fn words(digest: &[u8]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

/// The bucket of a key among `buckets` by Lamping and Veach's jump consistent hash: as many keys
/// move as must when `buckets` changes, as long as buckets come and go at the end only.
///
/// With `buckets` 0 the answer is 0.
pub fn jump_bucket(mut key: u64, buckets: u32) -> u32 {
    let (mut bucket, mut next) = (0_u32, 0_u32);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        #[expect(clippy::cast_precision_loss, reason = "31 bits fit")]
        let jump = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "truncation is the algorithm's; what is too large becomes u32::MAX and ends it"
        )]
        let reached = ((f64::from(bucket) + 1.0) * jump) as u32;
        next = reached;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_check_values() {
        let check = b"123456789";
        assert_eq!(HashKind::Crc32.hash(check), 0xcbf4_3926);
        assert_eq!(HashKind::Crc.hash(check), 0xcbf4_3926 >> 16 & 0x7fff);
        assert_eq!(HashKind::Crc16.hash(check) & 0xffff, 0x31c3);
        assert_eq!(HashKind::Fnv1a32.hash(b"foobar"), 0xbf9c_f968);
        assert_eq!(HashKind::Fnv1_32.hash(b"foobar"), 0x31f0_b262);
        assert_eq!(HashKind::OneAtATime.hash(b"a"), 0xca2e_9442);
        // d41d8cd9…, the lowest byte first.
        assert_eq!(HashKind::Md5.hash(b""), 0xd98c_1dd4);
    }

    #[test]
    fn jump_of_no_buckets_is_0() {
        assert_eq!(jump_bucket(7, 0), 0);
        assert_eq!(jump_bucket(u64::MAX, 1), 0);
        assert!(jump_bucket(u64::MAX, u32::MAX) < u32::MAX);
    }
}
