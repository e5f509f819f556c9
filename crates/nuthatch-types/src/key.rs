//! Keys: checked once where they enter, trusted everywhere after.

use std::fmt;

use crate::limits::KEY_LEN_MAX;

/// A key: 1 to [`Key::LEN_MAX`] bytes, borrowed.
///
/// [`Key::new`] makes keys that the text protocols can carry: no space, no line end, no NUL.
/// Keys that arrive base64-encoded in a meta command, or in the binary protocol, may hold any
/// byte and are made with [`Key::binary`]. Both kinds name items in one space: two keys are the
/// same item exactly when their bytes are equal.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key<'a>(&'a [u8]);

const fn is_forbidden(byte: u8) -> bool {
    byte <= b' ' || byte == 0x7f
}

/// Whether any byte is forbidden: eight at a time, a quarter of the instructions of one at a time.
fn has_forbidden(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const TOPS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    // A byte's top bit is set where the byte is below 0x21, and where it is 0x7f. A borrow can set
    // the bit of a byte above such a one, but not where there is none.
    let found = words.iter().fold(0, |found, word| {
        let word = u64::from_ne_bytes(*word);
        let del = word ^ (ONES * 0x7f);
        let low = word.wrapping_sub(ONES * 0x21) & !word;
        found | low | (del.wrapping_sub(ONES) & !del)
    });
    found & TOPS != 0 || rest.iter().any(|&b| is_forbidden(b))
}

impl<'a> Key<'a> {
    /// The longest key, in bytes.
    pub const LEN_MAX: usize = KEY_LEN_MAX;

    /// Makes a key that every protocol can carry.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`], [`KeyError::TooLong`], or [`KeyError::Forbidden`] for a space, a
    /// control byte or DEL, which are what client libraries refuse too. (The server itself takes
    /// any token of a command line as a key, tabs and 8-bit bytes included, as memcached does:
    /// it uses [`Key::binary`] on what the tokeniser gives it.)
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<Self, KeyError> {
        let bytes = bytes.as_ref();
        if has_forbidden(bytes) {
            let at = bytes.iter().position(|&b| is_forbidden(b)).unwrap_or_default();
            return Err(KeyError::Forbidden { at });
        }
        Self::binary(bytes)
    }

    /// Makes a key of any bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Empty`] or [`KeyError::TooLong`].
    pub const fn binary(bytes: &'a [u8]) -> Result<Self, KeyError> {
        match bytes.len() {
            0 => Err(KeyError::Empty),
            len if len > Self::LEN_MAX => Err(KeyError::TooLong { len }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The key's length in bytes, 1 to [`Key::LEN_MAX`].
    #[expect(clippy::len_without_is_empty, reason = "a key is never empty")]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// An owned copy.
    pub fn to_buf(&self) -> KeyBuf {
        KeyBuf(self.0.into())
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl<'a> TryFrom<&'a [u8]> for Key<'a> {
    type Error = KeyError;

    fn try_from(bytes: &'a [u8]) -> Result<Self, KeyError> {
        Key::new(bytes)
    }
}

impl<'a, const N: usize> TryFrom<&'a [u8; N]> for Key<'a> {
    type Error = KeyError;

    fn try_from(bytes: &'a [u8; N]) -> Result<Self, KeyError> {
        Key::new(bytes)
    }
}

impl<'a> TryFrom<&'a str> for Key<'a> {
    type Error = KeyError;

    fn try_from(text: &'a str) -> Result<Self, KeyError> {
        Key::new(text)
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{}\")", self.0.escape_ascii())
    }
}

impl fmt::Display for Key<'_> {
    /// The key with every byte outside printable ASCII escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// A key that owns its bytes.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyBuf(Box<[u8]>);

impl KeyBuf {
    /// The borrowed form.
    pub fn as_key(&self) -> Key<'_> {
        Key(&self.0)
    }
}

impl fmt::Debug for KeyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_key().fmt(f)
    }
}

impl From<Key<'_>> for KeyBuf {
    fn from(key: Key<'_>) -> Self {
        key.to_buf()
    }
}

/// Why bytes are not a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No bytes at all.
    #[error("a key cannot be empty")]
    Empty,
    /// More than [`Key::LEN_MAX`] bytes.
    #[error("key of {len} bytes exceeds the limit of 250")]
    TooLong {
        /// The length given, in bytes.
        len: usize,
    },
    /// A byte that the text protocols cannot carry.
    #[error("key has a space or control byte at offset {at}")]
    Forbidden {
        /// Where the byte stands.
        at: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_forbidden_byte_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                for neighbour in [b'a', 0x21, 0x80, 0xff, 0x7e] {
                    let mut key = [neighbour; 20];
                    key[at] = byte;
                    let expected = if is_forbidden(byte) {
                        Err(KeyError::Forbidden { at })
                    } else {
                        Ok(Key(&key))
                    };
                    assert_eq!(Key::new(&key), expected);
                }
            }
        }
    }

    #[test]
    fn length_limits_hold_at_both_ends() {
        assert_eq!(Key::new(b""), Err(KeyError::Empty));
        assert!(Key::new(b"x").is_ok());
        assert!(Key::new(&[b'k'; 250]).is_ok());
        assert_eq!(Key::new(&[b'k'; 251]), Err(KeyError::TooLong { len: 251 }));
    }

    #[test]
    fn text_keys_refuse_what_would_break_a_line() {
        for byte in [b' ', b'\r', b'\n', b'\t', 0, 0x7f] {
            assert_eq!(Key::new(&[b'a', byte]), Err(KeyError::Forbidden { at: 1 }));
            assert!(Key::binary(&[b'a', byte]).is_ok());
        }
        assert!(Key::new("schlüssel").is_ok());
    }

    #[test]
    fn debug_output_never_breaks_a_terminal() {
        assert_eq!(format!("{:?}", Key::binary(b"a\x1b[").unwrap()), "Key(\"a\\x1b[\")");
    }

    proptest! {
        /// A key that the text protocols carry is one token of a line, whatever its bytes.
        #[test]
        fn a_text_key_is_one_token(bytes: Vec<u8>) {
            let key = Key::new(&bytes);
            let tokens = bytes.split(|byte| byte.is_ascii_whitespace()).count();
            let controls = bytes.iter().any(|byte| byte.is_ascii_control());
            prop_assert_eq!(key.is_ok(), (1..=250).contains(&bytes.len()) && tokens == 1 && !controls);
            if let Ok(key) = key {
                let owned = key.to_buf();
                prop_assert_eq!(owned.as_key(), key);
                prop_assert_eq!(Key::binary(&bytes), Ok(key));
            }
        }
    }
}
