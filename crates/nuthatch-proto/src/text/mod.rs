//! The text protocol: lines in, requests out.
//!
//! ```text
//!   bytes ── frame ──> line ── parse_line ──> Parsed
//!            memchr            │ verb: a match, never a search
//!            length rule       ├─ classic   set get incr …
//!                              ├─ meta      mg ms md ma me mn
//!                              └─ admin     stats slabs lru …
//! ```
//!
//! The grammar is written with nom on complete lines; dispatch on the verb is a `match`, so that
//! each command gives memcached's own answer to its own mistakes. Framing is apart, so that a line
//! that arrives in pieces is searched once and parsed once.

pub(crate) mod admin;
pub(crate) mod base64;
pub(crate) mod classic;
pub(crate) mod encode;
pub(crate) mod frame;
pub(crate) mod login;
pub(crate) mod meta;
pub(crate) mod number;

use nom::Parser as _;
use nom::bytes::complete::{take_till1, take_while};
use nom::sequence::preceded;

use crate::error::{BAD_FORMAT, UNKNOWN};
use crate::request::Request;

/// Where [`parse_line`] puts what it decodes; lives as long as the request borrowed from it.
#[derive(Debug)]
pub struct Scratch {
    pub(crate) key: [u8; Self::LEN],
}

impl Scratch {
    /// A base64 key is at most 250 bytes on the line, so it decodes to 186 at most.
    const LEN: usize = 188;

    /// An empty scratch.
    pub const fn new() -> Self {
        Self { key: [0; Self::LEN] }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// What a command line turns out to be.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must act on each of them")]
pub enum Parsed<'a> {
    /// A request, to be answered. If [`Request::value_len`] is not `None`, so many bytes of value
    /// and a line end follow the line.
    Request {
        /// The request; its value, if it has one, is still
        /// [`Value::Reserved`](crate::Value::Reserved).
        request: Request<'a>,
        /// The client wants no answer (`noreply`).
        noreply: bool,
    },
    /// `mn`: answer `MN` and send everything now.
    Noop,
    /// `quit`: send what is queued and close.
    Quit,
    /// A mistake: answer it and go on.
    Malformed {
        /// The error line, without its line end.
        line: &'static str,
        /// The client wants no answer, not even this one.
        noreply: bool,
        /// So many bytes after the line belong to the command and are to be skipped first.
        swallow: usize,
    },
    /// A store command that does not say how long its value is: answer it. What follows may be the
    /// value or a command, and nobody can tell, so it must not be served.
    Unbounded {
        /// The error line, without its line end.
        line: &'static str,
    },
    /// Not our protocol (an HTTP request line): close without an answer.
    Alien,
}

impl<'a> Parsed<'a> {
    pub(crate) const fn request(request: Request<'a>, noreply: bool) -> Self {
        Self::Request { request, noreply }
    }

    pub(crate) const fn malformed(line: &'static str, noreply: bool) -> Self {
        Self::Malformed { line, noreply, swallow: 0 }
    }

    pub(crate) const fn bad_format() -> Self {
        Self::malformed(BAD_FORMAT, false)
    }

    pub(crate) const fn unbounded() -> Self {
        Self::Unbounded { line: BAD_FORMAT }
    }
}

/// Reads one command line, line end included.
///
/// Keys are checked here (1 to 250 bytes), so nothing behind this needs to look again. Errors are
/// memcached's, in memcached's order of precedence.
///
/// ```
/// use nuthatch_proto::{Parsed, Request, Scratch, parse_line};
///
/// let mut scratch = Scratch::new();
/// let Parsed::Request { request: Request::Get(get), .. } =
///     parse_line(b"get apple pear\r\n", &mut scratch)
/// else {
///     unreachable!()
/// };
/// assert_eq!(get.keys().count(), 2);
/// ```
pub fn parse_line<'a>(line: &'a [u8], scratch: &'a mut Scratch) -> Parsed<'a> {
    // Two letters of command and two bytes of line end. memcached counts the same way for `mn\n`.
    if line.len() < 4 {
        return Parsed::bad_format();
    }
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (verb, args) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
    let tokens = Tokens(args);
    match verb {
        b"get" => classic::get(tokens, false),
        b"gets" => classic::get(tokens, true),
        b"mg" => meta::get(tokens, scratch),
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" => {
            classic::store(verb, line, tokens)
        }
        b"ms" => meta::set(tokens, scratch),
        b"md" => meta::delete(tokens, scratch),
        b"ma" => meta::arith(tokens, scratch),
        b"me" => meta::debug(tokens, scratch),
        b"mn" => Parsed::Noop,
        b"delete" => classic::delete(line, tokens),
        b"incr" => classic::arith(line, tokens, nuthatch_types::Arith::Incr),
        b"decr" => classic::arith(line, tokens, nuthatch_types::Arith::Decr),
        b"touch" => classic::touch(line, tokens),
        b"gat" => classic::gat(tokens, false),
        b"gats" => classic::gat(tokens, true),
        b"quit" => Parsed::Quit,
        b"stats" => admin::stats(tokens),
        b"version" => admin::version(),
        b"watch" => admin::watch(tokens),
        _ => other(line),
    }
}

/// The commands that memcached looks up by their first token rather than by the start of the
/// line, so that spaces may stand before them; and what is no command at all.
fn other(line: &[u8]) -> Parsed<'_> {
    let noreply = is_noreply(line);
    let mut tokens = Tokens(line);
    if let Some(parsed) = tokens.next().and_then(|verb| admin::parse(verb, tokens, noreply)) {
        return parsed;
    }
    let mut tokens = Tokens(line);
    if tokens.nth(1).is_some() && last_token(line).starts_with(b"HTTP/") {
        return Parsed::Alien;
    }
    Parsed::malformed(UNKNOWN, noreply)
}

/// The tokens of a line: what stands between runs of spaces. Nothing but the space separates;
/// tabs, NULs and 8-bit bytes are part of tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'a>(pub(crate) &'a [u8]);

impl<'a> Tokens<'a> {
    /// What has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (rest, token) = token(self.0).ok()?;
        self.0 = rest;
        Some(token)
    }
}

fn token(input: &[u8]) -> nom::IResult<&[u8], &[u8], ()> {
    let is_space = |byte: u8| byte == b' ';
    preceded(take_while(is_space), take_till1(is_space)).parse(input)
}

/// Whether the last token of a line is `noreply`.
pub(crate) fn is_noreply(line: &[u8]) -> bool {
    // Nearly every line ends in another letter, and then this is one comparison.
    matches!(line.last(), Some(b'y' | b' ')) && last_token(line) == b"noreply"
}

fn last_token(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b' ').map_or(0, |at| at + 1);
    let start = line[..end].iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1);
    &line[start..end]
}

#[cfg(test)]
mod tests;
