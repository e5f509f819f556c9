//! The rules of `incr` and `decr` on decimal text.
//!
//! ```
//! use nuthatch_types::{Arith, arith};
//!
//! assert_eq!(arith::apply(Arith::Decr, b"5", 9), Ok(0));
//! assert_eq!(arith::apply(Arith::Incr, b"18446744073709551615", 1), Ok(0));
//! ```

use crate::{Arith, ArithError};

/// The most bytes a number may have: `u64::MAX` has 20 digits.
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

/// Reads a stored value as a number: spaces before and after are ignored (a shorter result is
/// padded with spaces where it stands, so `"9 "` is a number that `decr` itself has left).
///
/// # Errors
///
/// [`ArithError::NonNumeric`] for an empty value, anything but digits between the spaces, more
/// than [`DIGITS_MAX`] bytes in all, or a number above `u64::MAX`.
pub fn parse(value: &[u8]) -> Result<u64, ArithError> {
    if value.len() > DIGITS_MAX {
        return Err(ArithError::NonNumeric);
    }
    let digits = value.trim_ascii();
    if digits.is_empty() {
        return Err(ArithError::NonNumeric);
    }
    digits
        .iter()
        .try_fold(0u64, |number, byte| {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 { None } else { number.checked_mul(10)?.checked_add(u64::from(digit)) }
        })
        .ok_or(ArithError::NonNumeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_memcached_reads_them() {
        assert_eq!(parse(b"0"), Ok(0));
        assert_eq!(parse(b"9 "), Ok(9));
        assert_eq!(parse(b" 7"), Ok(7));
        assert_eq!(parse(b"18446744073709551615"), Ok(u64::MAX));
        for bad in [&b""[..], b" ", b"-1", b"1x", b"18446744073709551616", b"000000000000000000001"]
        {
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
        fn no_bytes_panic(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
