//! Values that serde knows, as JSON.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use nuthatch_types::ItemFlags;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecError, Encoded, expect_kind, kind};

/// JSON of a type. Nested deeper than 128 levels it is refused.
///
/// ```
/// use nuthatch_client::values::{Codec, Json};
///
/// let json = Json::<Vec<(String, u32)>>::new();
/// let stored = json.encode(&vec![("apples".to_owned(), 3)])?;
/// assert_eq!(stored.data, r#"[["apples",3]]"#);
/// assert_eq!(json.decode(stored.data, stored.flags)?[0].1, 3);
/// # Ok::<(), nuthatch_client::values::CodecError>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The codec of the type.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Json<T> {}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<T: Serialize + DeserializeOwned> Codec for Json<T> {
    type Value = T;

    fn encode(&self, value: &T) -> Result<Encoded, CodecError> {
        Ok(Encoded::new(serde_json::to_vec(value)?, kind::JSON))
    }

    fn decode(&self, data: Bytes, flags: ItemFlags) -> Result<T, CodecError> {
        expect_kind(flags, kind::JSON)?;
        Ok(serde_json::from_slice(&data)?)
    }
}
