//! Writing answers: status lines, headers, numbers. Nothing here allocates but the growth of the
//! buffer written to.

use nuthatch_types::{Cas, ItemFlags};

use super::base64;

/// What ends every line.
pub(crate) const CRLF: &[u8] = b"\r\n";

/// Appends a number in decimal.
pub(crate) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a line.
pub(crate) fn line(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.extend_from_slice(CRLF);
}

/// Appends `VALUE key flags len [cas]` and its line end.
pub(crate) fn value_header(
    out: &mut Vec<u8>,
    key: &[u8],
    flags: ItemFlags,
    len: usize,
    cas: Option<Cas>,
) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    number(out, flags.0);
    out.push(b' ');
    number(out, len);
    if let Some(cas) = cas {
        out.push(b' ');
        number(out, cas.0);
    }
    out.extend_from_slice(CRLF);
}

/// Appends a return flag of a meta command that has a number.
pub(crate) fn flag(out: &mut Vec<u8>, letter: u8, value: impl itoa::Integer) {
    out.extend_from_slice(&[b' ', letter]);
    number(out, value);
}

/// Whether a key would break the line it stands on. Only base64 brings in such keys. memcached
/// trusts a mark on the item, which items made by `mg … N` have not got, and then writes the key
/// as it is.
pub(crate) fn breaks_line(key: &[u8]) -> bool {
    memchr::memchr2(b' ', b'\n', key).is_some()
}

/// Appends the `k` return flag; a binary key goes in base64 and with a `b`.
pub(crate) fn key_flag(out: &mut Vec<u8>, key: &[u8], is_binary: bool) {
    out.extend_from_slice(b" k");
    if is_binary || breaks_line(key) {
        base64::encode(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}
