//! Values that are their bytes, or nearly.

use bytes::Bytes;
use nuthatch_types::ItemFlags;

use super::{Codec, CodecError, Encoded, expect_kind, kind, number, text};

/// Bytes as they are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "nothing to set")]
pub struct Raw;

impl Codec for Raw {
    type Value = Bytes;

    fn encode(&self, value: &Bytes) -> Result<Encoded, CodecError> {
        Ok(Encoded::new(value.clone(), kind::BYTES))
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<Bytes, CodecError> {
        expect_kind(flags, kind::BYTES)?;
        Ok(data)
    }
}

/// Text, as UTF-8.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "nothing to set")]
pub struct Text;

impl Codec for Text {
    type Value = String;

    fn encode(&self, value: &String) -> Result<Encoded, CodecError> {
        Ok(Encoded::new(value.clone(), kind::TEXT))
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<String, CodecError> {
        expect_kind(flags, kind::TEXT)?;
        text(data)
    }
}

/// A number, as decimal text: the form in which a server can count.
///
/// ```
/// use nuthatch_client::types::ItemFlags;
/// use nuthatch_client::values::{Codec, Number};
///
/// assert_eq!(Number.encode(&-7)?.data, "-7");
/// assert_eq!(Number.decode("9 ".into(), ItemFlags(0))?, 9); // counted down from 10
/// # Ok::<(), nuthatch_client::values::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "nothing to set")]
pub struct Number;

impl Codec for Number {
    type Value = i64;

    fn encode(&self, value: &i64) -> Result<Encoded, CodecError> {
        Ok(Encoded::new(value.to_string(), kind::NUMBER))
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<i64, CodecError> {
        expect_kind(flags, kind::NUMBER)?;
        number(&data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_and_0_is_anybodys() {
        let encoded = Text.encode(&"héllo".to_owned()).unwrap();
        assert_eq!(encoded, Encoded::new("héllo", 1));
        assert_eq!(Text.decode(encoded.data.clone(), ItemFlags(0)).unwrap(), "héllo");
        for flags in [2, 3, 0x11, 1 << 31] {
            let error = Text.decode(encoded.data.clone(), ItemFlags(flags)).unwrap_err();
            assert!(matches!(error, CodecError::Flags(f) if f == flags), "{error}");
        }
        assert!(Raw.decode(encoded.data.clone(), encoded.flags).is_err());
        assert!(matches!(
            Text.decode(Bytes::from_static(b"\xff"), ItemFlags(1)),
            Err(CodecError::Malformed("UTF-8"))
        ));
    }

    #[test]
    fn numbers_are_decimal() {
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            let encoded = Number.encode(&value).unwrap();
            assert_eq!(Number.decode(encoded.data, encoded.flags).unwrap(), value);
        }
        for text in ["", " ", "1x", "0x1", "1.0", "9223372036854775808", "\u{ff}"] {
            assert!(Number.decode(text.into(), ItemFlags(2)).is_err(), "{text:?}");
        }
    }
}
