//! The log-in of the text protocol: what a server that was started with `-Y` reads before it reads
//! anything else.
//!
//! The client sends `set any-key x x length` and, as the value, `user password`. Key, flags and
//! exptime are not looked at. Nothing else is understood, and a line too short to be a log-in
//! ends the connection: whoever sends it speaks another protocol.

use nuthatch_types::limits::LINE_LEN_MAX;

use super::{Tokens, number};
use crate::request::Auth;

/// The shortest line that is read at all, in bytes before its newline.
const LINE_LEN_MIN: usize = 6;

/// The longest value, in bytes.
const TOKEN_LEN_MAX: usize = 16 << 10;

/// What an unauthenticated client's input is.
#[derive(Debug)]
pub(crate) enum Login<'a> {
    /// A log-in, and how many bytes it takes.
    Attempt(Auth<'a>, usize),
    /// Not a log-in: the line to answer, and how many bytes it takes.
    Refused(&'static str, usize),
    /// So many bytes are needed before it is worth looking again.
    Need(usize),
    /// Not our protocol.
    Alien,
}

/// Reads what begins `input`.
pub(crate) fn read(input: &[u8]) -> Login<'_> {
    let searched = &input[..input.len().min(LINE_LEN_MAX + 1)];
    let line = match memchr::memchr(b'\n', searched) {
        Some(at) if at < LINE_LEN_MIN => return Login::Alien,
        Some(at) => &input[..at + 1],
        None if input.len() > LINE_LEN_MAX => return Login::Alien,
        None => return Login::Need(input.len() + 1),
    };
    let words = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line);
    let len = words
        .starts_with(b"set")
        .then(|| Tokens(words).nth(4))
        .flatten()
        .and_then(number::u32_strict)
        .and_then(|len| usize::try_from(len).ok());
    let Some(len) = len else {
        return Login::Refused("CLIENT_ERROR unauthenticated", line.len());
    };
    if len > TOKEN_LEN_MAX {
        return Login::Refused("CLIENT_ERROR auth token too long", line.len());
    }
    let whole = line.len() + len + 2;
    let Some(value) = input.get(line.len()..whole) else {
        return Login::Need(whole);
    };
    let Some(value) = value.strip_suffix(b"\r\n") else {
        return Login::Refused("CLIENT_ERROR bad command line termination", whole);
    };
    match memchr::memchr(b' ', value) {
        Some(at) => Login::Attempt(Auth { user: &value[..at], password: &value[at + 1..] }, whole),
        None => Login::Refused("CLIENT_ERROR bad authentication token format", whole),
    }
}
