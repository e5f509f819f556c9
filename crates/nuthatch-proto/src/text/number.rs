//! Numbers on command lines.
//!
//! memcached reads them in two ways. Most are *strict*: the whole token must be digits, with a
//! minus sign only where the type has one. The flags and the exptime of the classic store commands
//! are read as C's `strtoul` and `strtol` do: white space before and after, and a sign; the exptime
//! is a 64-bit result that is cut to 32 bits. Both ways are here, and nothing else reads a number.

/// The most bytes a strict 32-bit number may have.
const STRICT_32_LEN_MAX: usize = 11;

/// The most bytes a strict 64-bit number may have.
const STRICT_64_LEN_MAX: usize = 22;

/// A strict unsigned 32-bit number.
pub(crate) fn u32_strict(token: &[u8]) -> Option<u32> {
    if token.len() > STRICT_32_LEN_MAX {
        return None;
    }
    u32::try_from(digits(token)?).ok()
}

/// A strict unsigned 64-bit number.
pub(crate) fn u64_strict(token: &[u8]) -> Option<u64> {
    if token.len() > STRICT_64_LEN_MAX { None } else { digits(token) }
}

/// A strict signed 32-bit number. A lone minus sign is 0, as in memcached.
pub(crate) fn i32_strict(token: &[u8]) -> Option<i32> {
    if token.len() > STRICT_32_LEN_MAX {
        return None;
    }
    i32::try_from(signed(token)?).ok()
}

/// A strict signed 64-bit number. A lone minus sign is 0, as in memcached.
pub(crate) fn i64_strict(token: &[u8]) -> Option<i64> {
    if token.len() > STRICT_64_LEN_MAX { None } else { signed(token) }
}

/// Client flags as the classic store commands read them. memcached cuts larger numbers to 32 bits,
/// so that a client gets back other flags than it stored; here they are an error.
pub(crate) fn flags_lenient(token: &[u8]) -> Option<u32> {
    match c_number(token)? {
        (true, 1..) => None,
        (_, magnitude) => u32::try_from(magnitude).ok(),
    }
}

/// An exptime as the classic store commands read it: 4294967295 is -1.
pub(crate) fn exptime_lenient(token: &[u8]) -> Option<i32> {
    let (negative, magnitude) = c_number(token)?;
    let number = if negative {
        0i64.checked_sub_unsigned(magnitude)?
    } else {
        i64::try_from(magnitude).ok()?
    };
    Some(low_half(number.cast_unsigned()).cast_signed())
}

/// A ratio or factor. Only finite numbers are taken.
pub(crate) fn float(token: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(token).ok()?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

fn digits(token: &[u8]) -> Option<u64> {
    token.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

fn signed(token: &[u8]) -> Option<i64> {
    match token.strip_prefix(b"-") {
        Some(rest) => 0i64.checked_sub_unsigned(digits(rest)?),
        None => i64::try_from(digits(token)?).ok(),
    }
}

/// Sign and magnitude of a number as C reads one: what follows it must be white space or NUL.
fn c_number(token: &[u8]) -> Option<(bool, u64)> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r');
    let start = token.iter().position(|byte| !is_space(byte))?;
    let (negative, rest) = match token[start] {
        b'-' => (true, &token[start + 1..]),
        b'+' => (false, &token[start + 1..]),
        _ => (false, &token[start..]),
    };
    let len = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let ends_well = rest.get(len).is_none_or(|byte| *byte == 0 || is_space(byte));
    if len == 0 || !ends_well {
        return None;
    }
    Some((negative, digits(&rest[..len])?))
}

#[expect(clippy::cast_possible_truncation, reason = "cutting to 32 bits is what it is for")]
fn low_half(number: u64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_numbers_are_digits_and_nothing_else() {
        assert_eq!(u32_strict(b"4294967295"), Some(u32::MAX));
        assert_eq!(u32_strict(b"4294967296"), None);
        assert_eq!(u32_strict(b"00000000001"), Some(1));
        assert_eq!(u32_strict(b"000000000001"), None, "twelve bytes");
        for bad in [&b"+1"[..], b"-1", b"1x", b" 1", b"0x10"] {
            assert_eq!(u32_strict(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(u64_strict(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(u64_strict(b"18446744073709551616"), None);
        assert_eq!(i32_strict(b"-2147483648"), Some(i32::MIN));
        assert_eq!(i32_strict(b"2147483648"), None);
        assert_eq!(i32_strict(b"-"), Some(0));
        assert_eq!(i64_strict(b"-9223372036854775808"), Some(i64::MIN));
    }

    #[test]
    fn lenient_numbers_are_read_as_in_c() {
        assert_eq!(flags_lenient(b"4294967295"), Some(u32::MAX));
        assert_eq!(flags_lenient(b"4294967296"), None);
        assert_eq!(flags_lenient(b"-0"), Some(0));
        assert_eq!(flags_lenient(b"-1"), None);
        assert_eq!(flags_lenient(b"+7"), Some(7));
        assert_eq!(flags_lenient(b"5\t6"), Some(5));
        assert_eq!(flags_lenient(b"5x"), None);
        assert_eq!(flags_lenient(b"99999999999999999999"), None);
        assert_eq!(exptime_lenient(b"4294967295"), Some(-1));
        assert_eq!(exptime_lenient(b"-1"), Some(-1));
        assert_eq!(exptime_lenient(b"-"), None);
        assert_eq!(exptime_lenient(b"9223372036854775808"), None);
    }

    #[test]
    fn factors_are_finite() {
        assert_eq!(float(b"0.25"), Some(0.25));
        assert_eq!(float(b"1e1"), Some(10.0));
        for bad in [&b"nan"[..], b"inf", b"", b"x", b"\xff"] {
            assert_eq!(float(bad), None);
        }
    }

    proptest! {
        #[test]
        fn what_rust_writes_is_read_back(a: u32, b: u64, c: i32, d: i64) {
            prop_assert_eq!(u32_strict(a.to_string().as_bytes()), Some(a));
            prop_assert_eq!(u64_strict(b.to_string().as_bytes()), Some(b));
            prop_assert_eq!(i32_strict(c.to_string().as_bytes()), Some(c));
            prop_assert_eq!(i64_strict(d.to_string().as_bytes()), Some(d));
            prop_assert_eq!(flags_lenient(a.to_string().as_bytes()), Some(a));
            prop_assert_eq!(exptime_lenient(c.to_string().as_bytes()), Some(c));
        }

        #[test]
        fn no_bytes_panic(token: Vec<u8>) {
            let _ = (u32_strict(&token), i64_strict(&token), float(&token));
            let _ = (flags_lenient(&token), exptime_lenient(&token));
        }
    }
}
