//! Values as clients for other languages write and read them.
//!
//! Bytes, text, numbers and truth values are understood, packed or not; what a language's own
//! serializer made is handed over as it is, [`Foreign::Serialized`]. What is written here, the other
//! client reads with its default settings, and it is never packed.
//!
//! | codec | clients | bytes | text | integer | float | bool |
//! |---|---|---|---|---|---|---|
//! | [`Php`] | php-memcached | text of PHP's | yes | yes | yes | yes |
//! | [`Python`] | pymemcache's serde, pylibmc, python-memcached | yes | yes | yes | – | – |
//! | [`Dalli`] | dalli (Ruby) | raw values | yes | yes | – | yes |
//! | [`Spymemcached`] | spymemcached, AWS' Java client | yes | yes | `Long` | `Double` | yes |
//!
//! ```
//! use nuthatch_client::types::ItemFlags;
//! use nuthatch_client::values::Codec;
//! use nuthatch_client::values::foreign::{Foreign, Php, Python};
//!
//! // `$memcached->set('a', 3.5)` in PHP, `client.set('b', 7)` in Python.
//! assert_eq!(Php::new().decode("3.5".into(), ItemFlags(2))?, Foreign::Float(3.5));
//! assert_eq!(Python::new().decode("7".into(), ItemFlags(2))?, Foreign::Integer(7));
//! # Ok::<(), nuthatch_client::values::CodecError>(())
//! ```

mod fastlz;
mod java;
mod marshal;
mod php;
mod python;
mod ruby;

use bytes::Bytes;

pub use java::Spymemcached;
pub use php::Php;
pub use python::Python;
pub use ruby::Dalli;

/// A value of a client for another language.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Foreign {
    /// Bytes without a meaning. All text of PHP is this too: it has one type for both.
    Bytes(Bytes),
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A point in time, in milliseconds since 1970 (Java's `Date`).
    Millis(i64),
    /// Nothing at all (Ruby's `nil`).
    Null,
    /// What a serializer made, unpacked.
    Serialized(Serializer, Bytes),
}

/// Who made a value that is not understood here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Serializer {
    /// PHP's `serialize`.
    Php,
    /// PHP's igbinary.
    Igbinary,
    /// JSON.
    Json,
    /// MessagePack.
    Msgpack,
    /// Python's pickle.
    Pickle,
    /// Ruby's Marshal.
    Marshal,
    /// Java's object streams.
    Java,
}

impl From<&str> for Foreign {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Foreign {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// The most bytes to unpack, unless a codec is told otherwise.
const LIMIT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use nuthatch_types::ItemFlags;
    use proptest::prelude::*;

    use super::super::{Codec, CodecError};
    use super::*;

    type Decode = fn(Bytes, ItemFlags) -> Result<Foreign, CodecError>;

    const DECODERS: [Decode; 4] = [
        |data, flags| Php::new().limit(1000).decode(data, flags),
        |data, flags| Python::new().limit(1000).decode(data, flags),
        |data, flags| Dalli::new().limit(1000).decode(data, flags),
        |data, flags| Spymemcached::new().limit(1000).decode(data, flags),
    ];

    fn len(value: &Foreign) -> usize {
        match value {
            Foreign::Bytes(data) | Foreign::Serialized(_, data) => data.len(),
            Foreign::Text(text) => text.len(),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn bytes_of_a_hostile_server_do_no_harm(
            data in prop::collection::vec(any::<u8>(), 0..300),
            start in prop::sample::select(vec![
                &b""[..], b"\x04\x08", b"\x04\x08I\"", b"\xff\xff\xff\xff", b"\x40\0\0\0\x20",
                b"\x40\0\0\0\x78\x9c", b"\x78\x9c", b"\x1f\x8b\x08\0",
            ]),
            flags in prop_oneof![0..0x200_u32, any::<u32>(), Just(0x50), Just(0x300)],
        ) {
            let data = Bytes::from([start, &data].concat());
            for decode in DECODERS {
                if let Ok(value) = decode(data.clone(), ItemFlags(flags)) {
                    prop_assert!(len(&value) <= 1000, "{value:?}");
                }
            }
        }

        #[test]
        fn what_has_a_form_reads_back(
            text in ".{0,200}",
            data in prop::collection::vec(any::<u8>(), 0..200),
            number: i64,
            float: f64,
            truth: bool,
        ) {
            let bytes = Foreign::Bytes(data.into());
            let plain = [bytes, Foreign::Text(text), number.into()];
            let more = [Foreign::Float(float), Foreign::Bool(truth)];
            for value in plain.iter().chain(&more) {
                // PHP's text is bytes.
                let is_php_text = matches!(value, Foreign::Text(_));
                let stored = Php::new().encode(value).unwrap();
                let read = Php::new().decode(stored.data, stored.flags).unwrap();
                prop_assert!(&read == value || is_php_text, "{value:?} {read:?}");
                let stored = Spymemcached::new().encode(value).unwrap();
                let read = Spymemcached::new().decode(stored.data, stored.flags).unwrap();
                prop_assert_eq!(&read, value);
            }
            for value in &plain {
                let stored = Python::new().encode(value).unwrap();
                prop_assert_eq!(&Python::new().decode(stored.data, stored.flags).unwrap(), value);
            }
            for value in plain.iter().chain(&more[1..]).chain([&Foreign::Null]) {
                let stored = Dalli::new().encode(value).unwrap();
                prop_assert_eq!(&Dalli::new().decode(stored.data, stored.flags).unwrap(), value);
            }
        }
    }
}
