//! The little of Ruby's Marshal format that a cache holds most: strings, numbers, truth values.
//!
//! ```text
//! 04 08                            version 4.8
//! 0 | T | F                        nil, true, false
//! i NUMBER                         an integer of 31 bits
//! l (+|-) NUMBER BYTES             a longer one: how many pairs of bytes, the lowest first
//! " NUMBER BYTES                   a string of bytes
//! I " NUMBER BYTES 06 : 06 E T     a string in UTF-8 (F for T: US-ASCII)
//! ```

use bytes::Bytes;

use super::Foreign;

/// Reads a value; none for all that is not one of the few.
pub(super) fn load(data: &[u8]) -> Option<Foreign> {
    let (kind, rest) = data.strip_prefix(VERSION)?.split_first()?;
    match (kind, rest) {
        (b'0', []) => Some(Foreign::Null),
        (b'T', []) => Some(Foreign::Bool(true)),
        (b'F', []) => Some(Foreign::Bool(false)),
        (b'i', _) => {
            let (number, []) = integer(rest)? else { return None };
            Some(Foreign::Integer(number))
        }
        (b'l', [sign, rest @ ..]) => {
            let (pairs, digits) = integer(rest)?;
            let bytes = usize::try_from(pairs).ok()?.checked_mul(2)?;
            if bytes != digits.len() || bytes > 16 {
                return None;
            }
            let number = i128::from(little(digits)?);
            let number = if *sign == b'-' { -number } else { number };
            Some(Foreign::Integer(number.try_into().ok()?))
        }
        (b'"', _) => {
            let (text, []) = counted(rest)? else { return None };
            Some(Foreign::Bytes(Bytes::copy_from_slice(text)))
        }
        (b'I', [b'"', rest @ ..]) => {
            let (text, encoding) = counted(rest)?;
            let is_utf8 = encoding == UTF_8 || encoding == US_ASCII;
            is_utf8.then(|| str::from_utf8(text).ok())?.map(Foreign::from)
        }
        _ => None,
    }
}

/// Writes a value; none for one without a form here.
pub(super) fn dump(value: &Foreign) -> Option<Vec<u8>> {
    let mut data = VERSION.to_vec();
    match value {
        Foreign::Null => data.push(b'0'),
        Foreign::Bool(true) => data.push(b'T'),
        Foreign::Bool(false) => data.push(b'F'),
        Foreign::Integer(number) if (-(1 << 30)..1 << 30).contains(number) => {
            data.push(b'i');
            put_integer(&mut data, *number);
        }
        Foreign::Integer(number) => {
            let magnitude = number.unsigned_abs().to_le_bytes();
            let pairs = magnitude.chunks(2).rposition(|pair| pair != [0, 0])? + 1;
            data.extend([b'l', if *number < 0 { b'-' } else { b'+' }]);
            put_integer(&mut data, pairs.try_into().ok()?);
            data.extend(&magnitude[..2 * pairs]);
        }
        Foreign::Text(text) => {
            data.extend(b"I\"");
            // Lengths are integers as well, of 31 bits at most.
            let len = i32::try_from(text.len()).ok().filter(|len| *len < 1 << 30)?;
            put_integer(&mut data, len.into());
            data.extend(text.as_bytes());
            data.extend(UTF_8);
        }
        _ => return None,
    }
    Some(data)
}

/// An integer as Marshal packs it, and what follows. One byte says how many follow, or, moved away
/// from 0 by 5, is the number.
fn integer(data: &[u8]) -> Option<(i64, &[u8])> {
    let (&first, rest) = data.split_first()?;
    match first.cast_signed() {
        0 => Some((0, rest)),
        count @ 1..=4 => {
            let (digits, rest) = rest.split_at_checked(usize::from(count.unsigned_abs()))?;
            Some((little(digits)?.try_into().ok()?, rest))
        }
        count @ -4..=-1 => {
            let (digits, rest) = rest.split_at_checked(usize::from(count.unsigned_abs()))?;
            let missing = 1_i64 << (8 * digits.len());
            Some((i64::try_from(little(digits)?).ok()? - missing, rest))
        }
        small @ 5.. => Some((i64::from(small) - 5, rest)),
        small => Some((i64::from(small) + 5, rest)),
    }
}

/// Packs an integer of at most 32 bits.
fn put_integer(data: &mut Vec<u8>, number: i64) {
    let [first, ..] = match number {
        0 => [0; 8],
        1..=122 => (number + 5).to_le_bytes(),
        -123..=-1 => (number - 5).to_le_bytes(),
        _ => {
            let (bytes, filler) = (number.to_le_bytes(), if number < 0 { 0xff } else { 0 });
            let len = bytes.iter().rposition(|byte| *byte != filler).map_or(1, |last| last + 1);
            let count = i8::try_from(len).expect("there are eight bytes");
            data.push(if number < 0 { -count } else { count }.cast_unsigned());
            return data.extend(&bytes[..len]);
        }
    };
    data.push(first);
}

/// A length and as many bytes, and what follows.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = integer(data)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

/// Bytes as a number, the lowest first; none if it has more than 64 bits.
fn little(digits: &[u8]) -> Option<u64> {
    digits.iter().rev().try_fold(0_u64, |number, &digit| {
        (number >> 56 == 0).then_some(number << 8 | u64::from(digit))
    })
}

const VERSION: &[u8] = &[4, 8];
/// One instance variable, `:E`, which is true.
const UTF_8: &[u8] = b"\x06:\x06ET";
const US_ASCII: &[u8] = b"\x06:\x06EF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_ruby_dumps() {
        // Marshal.dump of Ruby 3.1.
        for (value, data) in [
            (Foreign::Integer(0), &b"\x04\x08i\x00"[..]),
            (Foreign::Integer(1), b"\x04\x08i\x06"),
            (Foreign::Integer(-1), b"\x04\x08i\xfa"),
            (Foreign::Integer(122), b"\x04\x08i\x7f"),
            (Foreign::Integer(123), b"\x04\x08i\x01\x7b"),
            (Foreign::Integer(-123), b"\x04\x08i\x80"),
            (Foreign::Integer(-124), b"\x04\x08i\xff\x84"),
            (Foreign::Integer(-256), b"\x04\x08i\xff\x00"),
            (Foreign::Integer(-257), b"\x04\x08i\xfe\xff\xfe"),
            (Foreign::Integer(65536), b"\x04\x08i\x03\x00\x00\x01"),
            (Foreign::Integer((1 << 30) - 1), b"\x04\x08i\x04\xff\xff\xff\x3f"),
            (Foreign::Integer(1 << 30), b"\x04\x08l+\x07\x00\x00\x00\x40"),
            (Foreign::Integer(-(1 << 40)), b"\x04\x08l-\x08\x00\x00\x00\x00\x00\x01"),
            (Foreign::Null, b"\x04\x080"),
            (Foreign::Bool(true), b"\x04\x08T"),
            ("h\u{e9}".into(), b"\x04\x08I\"\x08h\xc3\xa9\x06:\x06ET"),
        ] {
            assert_eq!(load(data).as_ref(), Some(&value));
            assert_eq!(dump(&value).as_deref(), Some(data), "{value:?}");
        }
        assert_eq!(load(b"\x04\x08\"\x06\xff"), Some(Foreign::Bytes(b"\xff"[..].into())));
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        let more: [&[u8]; 7] = [
            b"",
            b"\x04\x08",
            b"\x04\x08[\x00",
            b"\x04\x08i\x04\xff",
            b"\x04\x08\"\x7fab",
            b"\x04\x08I\"\x06a\x06:\x0dencoding\"\x0eShift_JIS",
            b"\x04\x08l+\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00",
        ];
        for data in more {
            assert_eq!(load(data), None, "{data:x?}");
        }
    }
}
