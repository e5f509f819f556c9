//! Frames out: answers. Nothing here allocates but the growth of the buffer written to.

use std::io::Write as _;

use nuthatch_types::{Cas, ItemFlags};

use super::header::{HEADER_LEN, Header, RESPONSE_MAGIC};
use super::read::Head;
use super::status::Status;

/// Appends an answer with all of its body.
pub(crate) fn response(out: &mut Vec<u8>, head: Head, status: Status, cas: Cas, body: &[u8]) {
    let header = header(head, status, cas, 0, 0, body.len());
    out.reserve(HEADER_LEN + body.len());
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(body);
}

/// Appends an answer with a key and a value.
pub(crate) fn named(out: &mut Vec<u8>, head: Head, status: Status, key: &[u8], value: &[u8]) {
    let header = header(head, status, Cas(0), 0, key.len(), key.len() + value.len());
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// Appends the beginning of an answer that has an item: all but the value, of which `len` bytes
/// follow.
pub(crate) fn item(
    out: &mut Vec<u8>,
    head: Head,
    key: &[u8],
    flags: ItemFlags,
    cas: Cas,
    len: usize,
) {
    let flags = flags.0.to_be_bytes();
    let body_len = flags.len() + key.len() + len;
    let header = header(head, Status::OK, cas, flags.len(), key.len(), body_len);
    out.reserve(HEADER_LEN + body_len);
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(&flags);
    out.extend_from_slice(key);
}

/// Appends a packet of statistics: a name and its value.
pub(crate) fn stat(
    out: &mut Vec<u8>,
    head: Head,
    name: std::fmt::Arguments<'_>,
    value: std::fmt::Arguments<'_>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    // Writing to memory does not fail, and a `Display` that does leaves a short text.
    let _ = out.write_fmt(name);
    let key_len = out.len() - start - HEADER_LEN;
    let _ = out.write_fmt(value);
    let body_len = out.len() - start - HEADER_LEN;
    let header = header(head, Status::OK, Cas(0), 0, key_len, body_len);
    out[start..start + HEADER_LEN].copy_from_slice(&header.to_bytes());
}

fn header(
    head: Head,
    status: Status,
    cas: Cas,
    extras_len: usize,
    key_len: usize,
    body_len: usize,
) -> Header {
    const FITS: &str = "keys and values are shorter than the wire allows";
    Header {
        magic: RESPONSE_MAGIC,
        opcode: head.opcode,
        key_len: u16::try_from(key_len).expect(FITS),
        extras_len: u8::try_from(extras_len).expect(FITS),
        data_type: 0,
        status: status.0,
        body_len: u32::try_from(body_len).expect(FITS),
        opaque: head.opaque,
        cas: cas.0,
    }
}
