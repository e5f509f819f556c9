//! What one line of a transcript says: bytes, and gaps in them.

use std::{collections::HashMap, ops::RangeInclusive};

/// A line to send or to expect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pattern {
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// Exactly these.
    Bytes(Vec<u8>),
    /// Whatever comes before the line's end, nothing too.
    Anything,
    /// A run of digits with a name: kept where it is expected, put in where it is sent. Expected
    /// a second time, it must be the same.
    Number(String),
    /// A run of digits that is a number in this range.
    Between(RangeInclusive<u64>),
}

/// Numbers that were kept, by name.
pub(crate) type Kept = HashMap<String, Vec<u8>>;

impl Pattern {
    pub(crate) fn push_bytes(&mut self, more: &[u8]) {
        if more.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Bytes(bytes)) => bytes.extend_from_slice(more),
            _ => self.pieces.push(Piece::Bytes(more.to_vec())),
        }
    }

    pub(crate) fn has_wildcard(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Anything | Piece::Between(_)))
    }

    /// The bytes of a pattern without gaps.
    pub(crate) fn exact(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(&[]),
            [Piece::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// The bytes to send; the error is the name of a number that was never kept.
    pub(crate) fn fill(&self, kept: &Kept) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(more) => bytes.extend_from_slice(more),
                Piece::Number(name) => {
                    bytes.extend_from_slice(kept.get(name).ok_or_else(|| name.clone())?);
                }
                // The parser lets no line to send have one.
                Piece::Anything | Piece::Between(_) => return Err("a gap".to_owned()),
            }
        }
        Ok(bytes)
    }

    /// Whether a line fits; keeps the numbers in it if so.
    pub(crate) fn matches(&self, line: &[u8], kept: &mut Kept) -> bool {
        let mut found = Kept::new();
        if !matches_pieces(&self.pieces, line, kept, &mut found) {
            return false;
        }
        kept.extend(found);
        true
    }
}

/// Patterns are short and gaps few, so trying every length of a gap is cheap.
fn matches_pieces(pieces: &[Piece], line: &[u8], kept: &Kept, found: &mut Kept) -> bool {
    match pieces {
        [] => line.is_empty(),
        [Piece::Bytes(bytes), rest @ ..] => line
            .strip_prefix(bytes.as_slice())
            .is_some_and(|line| matches_pieces(rest, line, kept, found)),
        [Piece::Anything, rest @ ..] => {
            let end =
                line.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(line.len());
            (0..=end).any(|len| matches_pieces(rest, &line[len..], kept, found))
        }
        [Piece::Between(range), rest @ ..] => {
            let (digits, line) = line.split_at(digits_len(line));
            let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            number.is_some_and(|number| range.contains(&number))
                && matches_pieces(rest, line, kept, found)
        }
        [Piece::Number(name), rest @ ..] => {
            let len = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, line) = line.split_at(len);
            if len == 0
                || kept.get(name).or_else(|| found.get(name)).is_some_and(|old| old != digits)
            {
                return false;
            }
            found.insert(name.clone(), digits.to_vec());
            matches_pieces(rest, line, kept, found)
        }
    }
}

fn digits_len(line: &[u8]) -> usize {
    line.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(pieces: &[Piece]) -> Pattern {
        Pattern { pieces: pieces.to_vec() }
    }

    fn bytes(text: &str) -> Piece {
        Piece::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn a_gap_ends_at_the_line_s_end() {
        let any = pattern(&[bytes("VERSION "), Piece::Anything, bytes("\r\n")]);
        let mut kept = Kept::new();
        assert!(any.matches(b"VERSION 1.6.45\r\n", &mut kept));
        assert!(any.matches(b"VERSION \r\n", &mut kept));
        assert!(!any.matches(b"VERSION 1\r\nEND\r\n", &mut kept));
        assert!(!any.matches(b"ERROR\r\n", &mut kept));
        let around = pattern(&[Piece::Anything, bytes("ab"), Piece::Anything]);
        assert!(around.matches(b"xxababx", &mut kept));
        assert!(!around.matches(b"xxaxbx", &mut kept));
    }

    #[test]
    fn numbers_are_kept_and_must_agree() {
        let number = || Piece::Number("cas".to_owned());
        let line = pattern(&[bytes("c"), number(), bytes("\r\n")]);
        let mut kept = Kept::new();
        assert!(!line.matches(b"c\r\n", &mut kept), "a number has a digit");
        assert!(!line.matches(b"c7x\r\n", &mut kept));
        assert!(kept.is_empty(), "a line that does not fit keeps nothing");
        assert!(line.matches(b"c42\r\n", &mut kept));
        assert!(!line.matches(b"c43\r\n", &mut kept));
        assert_eq!(line.fill(&kept), Ok(b"c42\r\n".to_vec()));
        assert_eq!(line.fill(&Kept::new()), Err("cas".to_owned()));
    }

    #[test]
    fn a_number_may_be_asked_to_be_in_a_range() {
        let line = pattern(&[bytes("t"), Piece::Between(98..=100), bytes("\r\n")]);
        for (text, fits) in
            [("t98", true), ("t100", true), ("t97", false), ("t", false), ("t-99", false)]
        {
            let text = format!("{text}\r\n");
            assert_eq!(line.matches(text.as_bytes(), &mut Kept::new()), fits, "{text}");
        }
    }
}
