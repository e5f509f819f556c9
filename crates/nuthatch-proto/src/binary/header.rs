//! The 24 bytes that begin every frame.

/// How long a header is, in bytes.
pub const HEADER_LEN: usize = 24;

/// The first byte of a request.
pub const REQUEST_MAGIC: u8 = 0x80;

/// The first byte of an answer.
pub const RESPONSE_MAGIC: u8 = 0x81;

/// A header, in either direction; the module's documentation has a drawing of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "these are the fields on the wire")]
pub struct Header {
    /// [`REQUEST_MAGIC`] or [`RESPONSE_MAGIC`].
    pub magic: u8,
    /// What is asked; an answer repeats it.
    pub opcode: u8,
    /// The key's length in bytes.
    pub key_len: u16,
    /// The extras' length in bytes.
    pub extras_len: u8,
    /// Always 0 in answers, and not looked at in requests.
    pub data_type: u8,
    /// The status of an answer; of a request the vbucket, which is not looked at.
    pub status: u16,
    /// The length of extras, key and value together, in bytes.
    pub body_len: u32,
    /// Whatever the client likes; an answer repeats it.
    pub opaque: u32,
    /// A CAS number; 0 is none.
    pub cas: u64,
}

impl Header {
    /// Reads a header.
    pub const fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Self {
        let [
            magic,
            opcode,
            k0,
            k1,
            extras_len,
            data_type,
            s0,
            s1,
            b0,
            b1,
            b2,
            b3,
            o0,
            o1,
            o2,
            o3,
            ..,
        ] = *bytes;
        let [.., c0, c1, c2, c3, c4, c5, c6, c7] = *bytes;
        Self {
            magic,
            opcode,
            key_len: u16::from_be_bytes([k0, k1]),
            extras_len,
            data_type,
            status: u16::from_be_bytes([s0, s1]),
            body_len: u32::from_be_bytes([b0, b1, b2, b3]),
            opaque: u32::from_be_bytes([o0, o1, o2, o3]),
            cas: u64::from_be_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
        }
    }

    /// The header as it stands on the wire.
    pub const fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let [k0, k1] = self.key_len.to_be_bytes();
        let [s0, s1] = self.status.to_be_bytes();
        let [b0, b1, b2, b3] = self.body_len.to_be_bytes();
        let [o0, o1, o2, o3] = self.opaque.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.cas.to_be_bytes();
        let Self { magic, opcode, extras_len, data_type, .. } = *self;
        [
            magic, opcode, k0, k1, extras_len, data_type, s0, s1, b0, b1, b2, b3, o0, o1, o2, o3,
            c0, c1, c2, c3, c4, c5, c6, c7,
        ]
    }

    /// The length of extras and key together, in bytes.
    pub(crate) const fn lead_len(&self) -> usize {
        self.extras_len as usize + self.key_len as usize
    }

    /// The length of the value, in bytes, where extras and key are no longer than the body.
    pub(crate) const fn value_len(&self) -> usize {
        (self.body_len as usize).saturating_sub(self.lead_len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_stand_where_they_must() {
        let mut bytes = [0; HEADER_LEN];
        for (byte, n) in bytes.iter_mut().zip(0..) {
            *byte = n;
        }
        let header = Header {
            magic: 0,
            opcode: 1,
            key_len: 0x0203,
            extras_len: 4,
            data_type: 5,
            status: 0x0607,
            body_len: 0x0809_0a0b,
            opaque: 0x0c0d_0e0f,
            cas: 0x1011_1213_1415_1617,
        };
        assert_eq!(Header::from_bytes(&bytes), header);
        assert_eq!(header.to_bytes(), bytes);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: [u8; HEADER_LEN]) {
            prop_assert_eq!(Header::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
