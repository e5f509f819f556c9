//! The rules of `incr` and `decr` on decimal text.
//!
//! ```
//! use nuthatch_types::{Arith, arith};
//!
//! assert_eq!(arith::apply(Arith::Decr, b"5", 9), Ok(0));
//! assert_eq!(arith::apply(Arith::Incr, b"18446744073709551615", 1), Ok(0));
//! ```

use crate::{Arith, ArithError};

/// The most digits a result has: `u64::MAX` has 20.
pub const DIGITS_MAX: usize = 20;

/// Applies a delta to a stored value and gives the new number.
///
/// # Errors
///
/// [`ArithError::NonNumeric`] as [`parse`] says it.
pub fn apply(direction: Arith, value: &[u8], delta: u64) -> Result<u64, ArithError> {
    let old = parse(value)?;
    Ok(match direction {
        Arith::Incr => old.wrapping_add(delta),
        Arith::Decr => old.saturating_sub(delta),
    })
}

/// Reads a stored value as a number, as memcached's `strtoull` does.
///
/// White space may come first, then a `+`, then the digits, as many as one likes; white space or a
/// NUL ends the number, and what follows is ignored. So `"9 "`, which `decr` itself leaves where a
/// result is shorter than the old value, is 9, and `"12 apples"` is 12.
///
/// Two things differ, because memcached does them by accident: a minus sign is refused (memcached
/// reads `-18446744073709551615` as 1), and so is a value of nothing but white space (memcached
/// reads on into whatever memory follows the value).
///
/// # Errors
///
/// [`ArithError::NonNumeric`] for anything else, and for numbers above `u64::MAX`.
pub fn parse(value: &[u8]) -> Result<u64, ArithError> {
    let start = value.iter().position(|byte| !is_space(*byte)).unwrap_or(value.len());
    let text = &value[start..];
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends_well = text.get(digits).is_none_or(|byte| is_space(*byte) || *byte == 0);
    if digits == 0 || !ends_well {
        return Err(ArithError::NonNumeric);
    }
    text[..digits]
        .iter()
        .try_fold(0u64, |number, byte| number.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
        .ok_or(ArithError::NonNumeric)
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Each line was tried on memcached 1.6.45.
    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        for (value, number) in [
            (&b"0"[..], 0),
            (b"9 ", 9),
            (b" 7", 7),
            (b"\t7", 7),
            (b"\r\n5", 5),
            (b"5\r", 5),
            (b"5\x0b9", 5),
            (b"+7", 7),
            (b"12 apples", 12),
            (b"12\0x", 12),
            (b"0000000000000000000000000000001", 1),
            (b"18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(value), Ok(number), "{}", value.escape_ascii());
        }
        for bad in [
            &b""[..],
            b"-1",
            b"- 1",
            b"+ 1",
            b"+",
            b"++1",
            b"1x",
            b"x1",
            b"0x10",
            b"1.5",
            b"5\xa0",
            b"18446744073709551616",
        ] {
            assert_eq!(parse(bad), Err(ArithError::NonNumeric), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn what_memcached_reads_by_accident_is_refused() {
        for bad in [&b" "[..], b"\r\n", b"-0", b"-18446744073709551615"] {
            assert_eq!(parse(bad), Err(ArithError::NonNumeric), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn counting_up_and_down_comes_back(start: u64, delta: u64) {
            prop_assume!(start.checked_add(delta).is_some());
            let up = apply(Arith::Incr, start.to_string().as_bytes(), delta).unwrap();
            prop_assert_eq!(apply(Arith::Decr, up.to_string().as_bytes(), delta), Ok(start));
        }

        #[test]
        fn up_wraps_and_down_stops(start: u64, delta: u64) {
            let text = start.to_string();
            let up = u128::from(start) + u128::from(delta);
            let wrapped = u64::try_from(up & u128::from(u64::MAX)).unwrap();
            prop_assert_eq!(apply(Arith::Incr, text.as_bytes(), delta), Ok(wrapped));
            let down = u64::try_from(i128::from(start) - i128::from(delta)).unwrap_or(0);
            prop_assert_eq!(apply(Arith::Decr, text.as_bytes(), delta), Ok(down));
        }

        /// A result that is padded in place can be counted again.
        #[test]
        fn padding_changes_nothing(number: u64, spaces in 0usize..30) {
            let text = format!("{number}{}", " ".repeat(spaces));
            prop_assert_eq!(parse(text.as_bytes()), Ok(number));
        }

        #[test]
        fn no_bytes_panic(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
