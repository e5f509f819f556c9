//! Where a line ends, and how long it may be.

use nuthatch_types::limits::{GET_LINE_LEN_MAX, LINE_LEN_MAX};

/// The longest line of a store command, in bytes, line end included. Such a line cannot be right
/// (a key has 250 bytes), but the value behind it must be skipped to stay in step, so it is worth
/// reading. It is what a receive buffer holds.
pub(crate) const STORE_LINE_LEN_MAX: usize = 16 << 10;

/// What the bytes at hand say about the line they begin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Frame {
    /// The line is this long, line end included.
    Line(usize),
    /// No line end yet.
    Partial,
    /// Longer than a line of its kind may be.
    TooLong,
}

/// Looks for the line end in `bytes`, of which the first `searched` are known to hold none.
///
/// memcached closes a connection whose first 2048 unread bytes hold no line end, unless they begin
/// with `get ` or `gets `; a longer line that happens to arrive in one piece is served. Here the
/// answer depends on the bytes alone and never on how they were cut: retrievals (`gat` too) may
/// have [`GET_LINE_LEN_MAX`] bytes, store commands [`STORE_LINE_LEN_MAX`], and every other line
/// [`LINE_LEN_MAX`] before its line end.
pub(crate) fn find(bytes: &[u8], searched: usize) -> Frame {
    match memchr::memchr(b'\n', &bytes[searched..]) {
        Some(at) if searched + at <= LINE_LEN_MAX || searched + at <= len_max(bytes) => {
            Frame::Line(searched + at + 1)
        }
        None if bytes.len() <= len_max(bytes) => Frame::Partial,
        _ => Frame::TooLong,
    }
}

/// How many bytes may stand before the line end.
fn len_max(bytes: &[u8]) -> usize {
    if bytes.len() <= LINE_LEN_MAX {
        return LINE_LEN_MAX;
    }
    let verb = memchr::memchr(b' ', &bytes[..LINE_LEN_MAX]).map_or(&b""[..], |at| &bytes[..at]);
    match verb {
        b"get" | b"gets" | b"gat" | b"gats" => GET_LINE_LEN_MAX - 1,
        b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas" | b"ms" => {
            STORE_LINE_LEN_MAX - 1
        }
        _ => LINE_LEN_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a line of `len` bytes before its line end, fed whole and in steps of `step`.
    fn verdict(start: &str, len: usize, step: usize) -> Frame {
        let mut line = start.as_bytes().to_vec();
        line.resize(len, b'x');
        line.push(b'\n');
        let mut searched = 0;
        loop {
            let end = (searched + step).min(line.len());
            match find(&line[..end], searched) {
                Frame::Partial => searched = end,
                verdict => return verdict,
            }
        }
    }

    #[test]
    fn the_limit_does_not_depend_on_the_cuts() {
        for (start, max) in
            [("get ", GET_LINE_LEN_MAX - 1), ("set ", STORE_LINE_LEN_MAX - 1), ("incr ", 2048)]
        {
            for step in [1000, 2048, 2049, 1 << 24] {
                assert_eq!(verdict(start, max, step), Frame::Line(max + 1), "{start}{step}");
                assert_eq!(verdict(start, max + 1, step), Frame::TooLong, "{start}{step}");
            }
        }
    }

    #[test]
    fn a_verb_needs_its_space() {
        assert_eq!(verdict("getx", 2049, 7), Frame::TooLong);
        assert_eq!(verdict(" get ", 2049, 7), Frame::TooLong);
        assert_eq!(find(b"get", 0), Frame::Partial);
        assert_eq!(find(b"\n", 0), Frame::Line(1));
    }
}
