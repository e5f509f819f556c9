//! Unpacking FastLZ, which php-memcached packs with.
//!
//! A stream is literal runs and copies of what came out before. The upper three bits of the first
//! byte say which of two levels it is of; those of each further opcode say what is to be done:
//!
//! ```text
//! 000 LLLLL                       the LLLLL + 1 bytes that follow
//! LLL OOOOO                 oooooooo   LLL + 2 bytes from O·256 + o + 1 bytes back
//! 111 OOOOO llllllll        oooooooo   l + 9 bytes from there
//! ```
//!
//! In level 2, `llllllll` goes on while it is 255, and a distance of 31·256 + 255 means that two
//! bytes more follow, the upper first, which are added to 8191.

use super::super::CodecError;

/// Unpacks to at most `len` bytes.
pub(super) fn unpack(data: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    const BAD: CodecError = CodecError::Malformed("FastLZ");
    let mut input = data.iter().copied();
    let mut out = Vec::new();
    let mut next = || input.next();
    let Some(first) = next() else { return Err(BAD) };
    let is_level_2 = match first >> 5 {
        0 => false,
        1 => true,
        _ => return Err(BAD),
    };
    // The first opcode is always a literal run.
    let mut opcode = usize::from(first & 31);
    loop {
        if opcode < 32 {
            for _ in 0..=opcode {
                out.push(next().ok_or(BAD)?);
            }
        } else {
            let mut count = (opcode >> 5) + 2;
            if count == 9 {
                loop {
                    let more = next().ok_or(BAD)?;
                    count += usize::from(more);
                    if !is_level_2 || more < 255 {
                        break;
                    }
                }
            }
            let low = next().ok_or(BAD)?;
            let mut distance = (opcode & 31) << 8 | usize::from(low);
            if is_level_2 && distance == 0x1fff {
                let far = [next().ok_or(BAD)?, next().ok_or(BAD)?];
                distance += usize::from(u16::from_be_bytes(far));
            }
            let start = out.len().checked_sub(distance + 1).ok_or(BAD)?;
            // A copy may reach into itself, so it goes byte by byte; the limit comes first.
            if count > len.saturating_sub(out.len()) {
                return Err(BAD);
            }
            for i in start..start + count {
                out.push(out[i]);
            }
        }
        if out.len() > len {
            return Err(BAD);
        }
        match next() {
            Some(byte) => opcode = usize::from(byte),
            None => return Ok(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies() {
        // "abc", then 6 + 2 + 1 … bytes from 3 back, which reach into themselves.
        assert_eq!(unpack(b"\x02abc\x80\x02", 100).unwrap(), b"abcabcabc");
        assert_eq!(unpack(b"\x00a\xe0\x03\x00", 100).unwrap(), [b'a'; 13]);
        let level_2 = unpack(b"\x20a\xe0\xff\x01\x00", 1000).unwrap();
        assert_eq!(level_2, [b'a'; 1 + 9 + 255 + 1]);
    }

    #[test]
    fn what_points_nowhere_or_ends_early_is_refused() {
        for data in [&b""[..], b"\x40", b"\x01a", b"\x00a\x20", b"\x00a\x20\x01", b"\x00a\xe0\xff"]
        {
            assert!(unpack(data, 1000).is_err(), "{data:x?}");
        }
        assert!(unpack(b"\x00a\xe0\x03\x00", 12).is_err(), "more than announced");
    }
}
