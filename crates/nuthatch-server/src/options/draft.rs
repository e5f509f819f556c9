//! What the flags are collected in while the command line is being read, and how their values
//! become numbers.

use std::{ffi::OsStr, str::FromStr};

use super::{Options, UsageError};

/// Options in the making, with what the final checks must know besides.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) options: Options,
    /// `-p` was given: `-U` does not choose the TCP port.
    pub(super) port_given: bool,
    /// `-B` was given: `-Y` does not choose the protocol.
    pub(super) protocol_given: bool,
    /// `-o slab_chunk_max` was given: no other flag may choose the chunk size.
    pub(super) slab_chunk_max_given: bool,
    /// `-f`, `-n` and `-o hot_lru_pct` were given: the profile does not choose them.
    pub(super) growth_factor_given: bool,
    pub(super) chunk_size_min_given: bool,
    pub(super) hot_lru_pct_given: bool,
    /// The `discovery_` words that were given, which need `discovery`.
    pub(super) discovery_words: Vec<&'static str>,
    /// `-o slab_sizes` as it was given: what it may say depends on other flags.
    pub(super) slab_sizes: Option<String>,
}

/// A flag's value: not yet text, because paths need not be UTF-8.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    /// How the flag was written, for messages: `-m` or `--memory-limit`.
    pub(super) flag: &'a str,
    pub(super) raw: &'a OsStr,
}

impl<'a> Value<'a> {
    /// The value as text, without the white space before it (memcached skips it, because init
    /// scripts pass `-m 64` as one word).
    pub(super) fn text(self) -> Result<&'a str, UsageError> {
        match self.raw.to_str() {
            Some(text) => Ok(text.trim_start()),
            None => Err(UsageError::value(format!(
                "value of {} is not UTF-8: {}",
                self.flag,
                self.raw.display()
            ))),
        }
    }

    /// The value as bytes, without the white space before it.
    pub(super) fn trimmed_bytes(self) -> &'a [u8] {
        self.raw.as_encoded_bytes().trim_ascii_start()
    }

    /// The value as a decimal number.
    pub(super) fn number<T: FromStr>(self) -> Result<T, UsageError> {
        let text = self.text()?;
        text.parse().map_err(|_| invalid(self.flag, text))
    }
}

/// The complaint about a value that is no number, or none that fits.
pub(super) fn invalid(name: &str, text: &str) -> UsageError {
    UsageError::value(format!("invalid value for {name}: \"{text}\""))
}
