//! What memcached's tests ask for in the environment; heard where `-o relaxed_privileges` is given.

use std::env;
use std::ffi::OsStr;

/// The variable in which a test says how many bytes of `-m` the server is to take for used up, so
/// that a server of many gigabytes is full at once.
pub const MEMORY_IN_USE_VARIABLE: &str = "T_MEMD_INITIAL_MALLOC";

/// The bytes that [`MEMORY_IN_USE_VARIABLE`] names; 0 where it is not set.
///
/// # Errors
///
/// What to tell the user, if it is not a number of bytes. (memcached ignores it then.)
pub fn memory_in_use() -> Result<usize, String> {
    env::var_os(MEMORY_IN_USE_VARIABLE).map_or(Ok(0), |text| parse(&text))
}

fn parse(text: &OsStr) -> Result<usize, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{MEMORY_IN_USE_VARIABLE} must be a number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_bytes_is_asked_for() {
        assert_eq!(parse(OsStr::new("4294967328")), Ok(4_294_967_328));
        for refused in ["", "-1", "4g", "1 "] {
            assert!(parse(OsStr::new(refused)).is_err(), "{refused:?}");
        }
    }
}
