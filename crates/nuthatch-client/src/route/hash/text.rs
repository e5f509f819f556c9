//! Hashes of clients to whom a key is text, not bytes.
//!
//! Keys that are no UTF-8 cannot come from such clients; each of their bytes counts as a character.

/// What JavaScript and Java see: UTF-16 units.
fn units(key: &[u8]) -> impl Iterator<Item = u16> {
    let text = str::from_utf8(key).unwrap_or_default();
    let bytes = if text.is_empty() { key } else { &[] };
    text.encode_utf16().chain(bytes.iter().map(|&byte| u16::from(byte)))
}

/// What Python sees: characters, here cut to their lower eight bits.
pub(in super::super) fn chars(key: &[u8]) -> impl Iterator<Item = u8> + Clone {
    let text = str::from_utf8(key).unwrap_or_default();
    let bytes = if text.is_empty() { key } else { &[] };
    text.chars().map(|c| u32::from(c).to_le_bytes()[0]).chain(bytes.iter().copied())
}

/// Java's `String.hashCode`, without a sign.
pub(in super::super) fn java31(key: &[u8]) -> u32 {
    units(key).fold(0, |hash: u32, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

/// The same with the sign dropped, as memjs has it.
pub(in super::super) fn abs31(key: &[u8]) -> u32 {
    java31(key).cast_signed().unsigned_abs()
}

/// FNV-1a as npm's `memcache` computes it, in doubles, where a product loses its lowest bits. The
/// result is in the order of its ring, whose numbers are signed.
pub(in super::super) fn fnv_js(hash: i32, key: &[u8]) -> i32 {
    units(key).fold(hash, |hash, unit| {
        let product = f64::from(hash ^ i32::from(unit)) * 16_777_619.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "56 bits at most fit; `| 0` keeps the lower 32"
        )]
        let kept = product as i64 as i32;
        kept
    })
}

/// What [`fnv_js`] begins with: FNV's basis, as a signed number.
pub(in super::super) const FNV_JS_BASIS: i32 = 0x811c_9dc5_u32.cast_signed();

/// MurmurHash3 in 32 bits.
pub(in super::super) fn murmur3_32(bytes: impl Iterator<Item = u8>, seed: u32) -> u32 {
    Murmur3 { hash: seed, word: 0, len: 0 }.fed(bytes).finish()
}

/// MurmurHash3 on its way: what many texts begin with is hashed once.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Murmur3 {
    hash: u32,
    /// Bytes that do not fill four yet.
    word: u32,
    len: u32,
}

impl Murmur3 {
    /// Further by some bytes.
    pub(in super::super) fn fed(self, bytes: impl Iterator<Item = u8>) -> Self {
        bytes.fold(self, |Self { mut hash, mut word, mut len }, byte| {
            word |= u32::from(byte) << (len % 4 * 8);
            len = len.wrapping_add(1);
            if len % 4 == 0 {
                hash = (hash ^ Self::scrambled(word)).rotate_left(13);
                hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
                word = 0;
            }
            Self { hash, word, len }
        })
    }

    /// The hash.
    pub(in super::super) fn finish(self) -> u32 {
        // Without a remainder `word` is 0, and so is what comes of it.
        let mut hash = self.hash ^ Self::scrambled(self.word) ^ self.len;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }

    fn scrambled(word: u32) -> u32 {
        word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_hashed_by_its_own_units() {
        assert_eq!(java31(b"hello"), 99_162_322);
        // One unit, 0xe9; the emoji is two.
        assert_eq!(java31("é".as_bytes()), 0xe9);
        assert_eq!(java31("😀".as_bytes()), 0xd83d * 31 + 0xde00);
        assert_eq!(java31(b"\xff\xfe"), 0xff * 31 + 0xfe, "no UTF-8");
        // "polygenelubricants" is the classic that hashes to the least number.
        assert_eq!(java31(b"polygenelubricants"), 0x8000_0000);
        assert_eq!(abs31(b"polygenelubricants"), 0x8000_0000);
    }

    #[test]
    fn murmur3_of_smhasher() {
        let murmur3 = |text: &str, seed| murmur3_32(text.bytes(), seed);
        assert_eq!(murmur3("", 1), 0x514e_28b7);
        assert_eq!(murmur3("test", 0), 0xba6b_d213);
        assert_eq!(murmur3("Hello, world!", 0x9747_b28c), 0x2488_4cba);
    }
}
