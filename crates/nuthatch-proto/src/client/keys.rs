//! Many keys at once.

use nuthatch_types::{Key, KeyError};

/// The keys of one retrieval as its command line has them: in one piece of memory, however many
/// they are, and looked at once, when they are put in.
///
/// ```
/// use nuthatch_proto::client::{Command, Connection, KeyLine, Limits};
///
/// let mut keys = KeyLine::new();
/// keys.push("apple")?;
/// keys.push("pear")?;
/// let mut connection = Connection::new(Limits::default());
/// connection.send(&Command::GetLine { keys: &keys, with_cas: false, exptime: None }, ())?;
/// assert_eq!(connection.transmit(), b"get apple pear\r\n");
/// # Ok::<(), nuthatch_proto::Error>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyLine {
    /// A space before each.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Some of them cannot stand on a line.
    has_binary: bool,
}

impl KeyLine {
    /// No keys.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), has_binary: false }
    }

    /// Makes room for so many keys more.
    pub fn reserve(&mut self, n_keys: usize) {
        self.ends.reserve(n_keys);
        self.bytes.reserve(n_keys * COMMON_KEY_LEN);
    }

    /// Puts a key in that every protocol can carry.
    ///
    /// # Errors
    ///
    /// As [`Key::new`]; nothing is put in then.
    pub fn push(&mut self, key: impl AsRef<[u8]>) -> Result<(), KeyError> {
        let key = key.as_ref();
        self.append(Key::new(key)?);
        Ok(())
    }

    /// Puts a key of any bytes in.
    ///
    /// # Errors
    ///
    /// As [`Key::binary`]; nothing is put in then.
    pub fn push_binary(&mut self, key: impl AsRef<[u8]>) -> Result<(), KeyError> {
        let key = Key::binary(key.as_ref())?;
        self.has_binary |= Key::new(&key).is_err();
        self.append(key);
        Ok(())
    }

    fn append(&mut self, key: Key<'_>) {
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(key.as_bytes());
        self.ends.push(self.bytes.len());
    }

    /// Some of these keys, in the order of the places.
    #[must_use]
    pub fn at(&self, places: &[usize]) -> Self {
        let mut some = Self { has_binary: self.has_binary, ..Self::new() };
        some.reserve(places.len());
        for at in places {
            some.append(self.key(*at));
        }
        some
    }

    /// The key at a place.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn key(&self, at: usize) -> Key<'_> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let key = &self.bytes[start + b" ".len()..self.ends[at]];
        Key::binary(key).expect("it was a key when it was put in")
    }

    /// The keys.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        (0..self.len()).map(|at| self.key(at))
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether a command line may hold all of them, as those that [`Key::new`] takes.
    pub fn is_text(&self) -> bool {
        !self.has_binary
    }

    /// The keys with a space before each, as they stand on a line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What most keys take at most, with the space before them, in bytes: room for more is made when it
/// is needed.
const COMMON_KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_out_as_they_went_in() {
        let mut keys = KeyLine::new();
        assert!(keys.is_empty() && keys.is_text());
        for key in ["a", "bc", "d"] {
            keys.push(key).unwrap();
        }
        assert_eq!(keys.push("e f"), Err(KeyError::Forbidden { at: 1 }));
        assert_eq!(keys.push(""), Err(KeyError::Empty));
        assert_eq!(keys.as_bytes(), b" a bc d");
        assert!(keys.iter().map(|key| key.as_bytes()).eq([&b"a"[..], b"bc", b"d"]));
        assert_eq!(keys.at(&[2, 1]).as_bytes(), b" d bc");
        assert!(keys.is_text());
        keys.push_binary("e f").unwrap();
        assert_eq!((keys.len(), keys.key(3).as_bytes()), (4, &b"e f"[..]));
        assert!(!keys.is_text() && !keys.at(&[3]).is_text());
    }
}
