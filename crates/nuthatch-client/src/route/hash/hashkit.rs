//! libhashkit's functions, with their quirks.

/// Jenkins' hash, one byte at a time.
pub(super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = 0_u32;
    for &byte in key {
        hash = hash.wrapping_add(signed(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

pub(super) fn fnv1_64(key: &[u8]) -> u32 {
    let hash = key.iter().fold(FNV_64_BASIS, |hash, &byte| {
        hash.wrapping_mul(FNV_64_PRIME) ^ i64::from(byte.cast_signed()).cast_unsigned()
    });
    low(hash)
}

/// Half of everything: state, basis and prime are cut to 32 bits.
pub(super) fn fnv1a_64(key: &[u8]) -> u32 {
    key.iter().fold(low(FNV_64_BASIS), |hash, &byte| {
        (hash ^ signed(byte)).wrapping_mul(low(FNV_64_PRIME))
    })
}

pub(super) fn fnv1_32(key: &[u8]) -> u32 {
    key.iter().fold(FNV_32_BASIS, |hash, &byte| hash.wrapping_mul(FNV_32_PRIME) ^ signed(byte))
}

pub(super) fn fnv1a_32(key: &[u8]) -> u32 {
    key.iter().fold(FNV_32_BASIS, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(FNV_32_PRIME))
}

/// CRC-16/XMODEM in a wider register, which is never cut to 16 bits.
pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc, &byte| {
        let mut step = (crc >> 8 ^ u32::from(byte)) & 0xff;
        step <<= 8;
        for _ in 0..8 {
            step = if step & 0x8000 == 0 { step << 1 } else { step << 1 ^ 0x1021 };
        }
        crc << 8 ^ step & 0xffff
    })
}

/// SuperFastHash, started from 0. The last byte of three is read as a signed character.
pub(super) fn hsieh(key: &[u8]) -> u32 {
    let pair = |bytes: &[u8]| u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let mut hash = 0_u32;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        hash = hash.wrapping_add(pair(block));
        hash = hash << 16 ^ pair(&block[2..]) << 11 ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *blocks.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(&[a, b]));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(&[a, b]));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    for (left, right) in [(3, 5), (4, 17), (25, 6)] {
        hash ^= hash << left;
        hash = hash.wrapping_add(hash >> right);
    }
    hash
}

/// MurmurHash2, with a seed that comes of the length.
pub(super) fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let len = low(key.len() as u64);
    let mut hash = length_seed(len) ^ len;
    let mut blocks = key.chunks_exact(4);
    for block in &mut blocks {
        let mut word = little(block).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !blocks.remainder().is_empty() {
        hash = (hash ^ little(blocks.remainder())).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

/// MurmurHash3 in 32 bits, with a seed that comes of the length.
pub(super) fn murmur3(key: &[u8]) -> u32 {
    super::murmur3_32(key.iter().copied(), length_seed(low(key.len() as u64)))
}

/// lookup3: three words of state, twelve bytes at a time.
pub(super) fn jenkins(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(low(key.len() as u64)).wrapping_add(13);
    let mut state = [start; 3];
    let Some(last) = key.len().checked_sub(1).map(|end| end / 12 * 12) else { return start };
    for block in key[..last].chunks_exact(12) {
        absorb(&mut state, block);
        // Each step takes one word from the next, turned, and adds the third to that.
        for (i, turn) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
            let (x, y, z) = (i % 3, (i + 1) % 3, (i + 2) % 3);
            state[x] = state[x].wrapping_sub(state[z]) ^ state[z].rotate_left(turn);
            state[z] = state[z].wrapping_add(state[y]);
        }
    }
    absorb(&mut state, &key[last..]);
    for (i, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (x, y) = ((i + 2) % 3, (i + 1) % 3);
        state[x] = (state[x] ^ state[y]).wrapping_sub(state[y].rotate_left(turn));
    }
    state[2]
}

/// Adds up to twelve bytes to three words.
fn absorb(state: &mut [u32; 3], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.chunks(4)) {
        *word = word.wrapping_add(little(bytes));
    }
}

/// Up to four bytes as a number, the lowest first.
fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn length_seed(len: u32) -> u32 {
    len.wrapping_mul(0xdead_beef)
}

/// A byte as C's `char` is on the machines where libmemcached is used: signed.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

/// The lower half.
fn low(wide: u64) -> u32 {
    (wide & u64::from(u32::MAX)).try_into().expect("32 bits are left")
}

const FNV_64_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_64_PRIME: u64 = 0x0000_0100_0000_01b3;
const FNV_32_BASIS: u32 = 0x811c_9dc5;
const FNV_32_PRIME: u32 = 0x0100_0193;
