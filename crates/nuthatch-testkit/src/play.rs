//! Playing a transcript.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::Range,
};

use crate::{
    Transcript,
    pattern::Kept,
    transcript::{Line, Step},
};

/// How what is sent is cut into pieces, each of which is one write.
///
/// Over a socket the kernel may put pieces together again; in [`Memory`](crate::Memory) each
/// arrives by itself.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_enums, reason = "a test names the one it wants")]
pub enum Split {
    /// Not at all: all that stands between two answers is one write.
    #[default]
    Whole,
    /// Between any two bytes.
    EveryByte,
    /// At random places, the same ones for the same seed.
    Random(u64),
}

/// Holds the conversation of one transcript.
#[derive(Debug)]
pub struct Player<'a> {
    transcript: &'a Transcript,
    split: Split,
}

impl<'a> Player<'a> {
    /// A player that sends whole.
    pub fn new(transcript: &'a Transcript) -> Self {
        Self { transcript, split: Split::Whole }
    }

    /// Cuts what is sent.
    #[must_use]
    pub fn split(self, split: Split) -> Self {
        Self { split, ..self }
    }

    /// Plays the transcript. A conversation that does not end with `! closed` ends with an `mn`
    /// of the player's own, so that an answer too much is seen; the header `@ open` leaves that
    /// out.
    ///
    /// # Errors
    ///
    /// [`Mismatch`] shows the first line that was not answered as expected. A read that gives an
    /// error counts as no answer: give sockets a time limit.
    pub fn play<S: Read + Write>(&self, stream: &mut S) -> Result<(), Mismatch> {
        let mut talk = Talk {
            name: self.transcript.name(),
            stream,
            buffer: Vec::new(),
            kept: Kept::new(),
            sent: Vec::new(),
            random: Random::new(self.split),
            split: self.split,
        };
        for step in &self.transcript.steps {
            match step {
                Step::Send(lines) => talk.send(lines)?,
                Step::Expect(line) => talk.expect(line)?,
                Step::Closed { number } => talk.expect_closed(*number)?,
            }
        }
        let ends_closed = matches!(self.transcript.steps.last(), Some(Step::Closed { .. }));
        if !ends_closed && self.transcript.header("open").is_none() {
            talk.nothing_left()?;
        }
        Ok(())
    }
}

/// The first place where a conversation went otherwise. `Debug` prints what `Display` does, so that
/// an `unwrap` in a test shows it readably.
#[derive(thiserror::Error)]
pub struct Mismatch {
    place: String,
    sent: Vec<u8>,
    expected: String,
    got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.place)?;
        for line in self.sent.split_inclusive(|byte| *byte == b'\n') {
            writeln!(f, "  sent      {}", shown(line))?;
        }
        writeln!(f, "  expected  {}", self.expected)?;
        write!(f, "  got       {}", self.got)
    }
}

impl fmt::Debug for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        fmt::Display::fmt(self, f)
    }
}

/// A conversation under way.
struct Talk<'a, S> {
    name: &'a str,
    stream: &'a mut S,
    /// Read, but not compared yet.
    buffer: Vec<u8>,
    kept: Kept,
    /// What was sent last, for messages.
    sent: Vec<u8>,
    split: Split,
    random: Random,
}

impl<S: Read + Write> Talk<'_, S> {
    fn send(&mut self, lines: &[Line]) -> Result<(), Mismatch> {
        let mut bytes = Vec::new();
        for line in lines {
            match line.pattern.fill(&self.kept) {
                Ok(more) => bytes.extend_from_slice(&more),
                Err(name) => {
                    let expected = format!("a number kept as {name:?} before this line");
                    return Err(self.mismatch(line.number, expected, "none".to_owned()));
                }
            }
        }
        let number = lines.first().map_or(0, |line| line.number);
        for piece in self.pieces(bytes.len()) {
            match self.stream.write_all(&bytes[piece]).and_then(|()| self.stream.flush()) {
                Ok(()) => {}
                // The other side has closed; what is expected next says whether it may.
                Err(error) if ends(&error) => break,
                Err(error) => {
                    self.sent = bytes;
                    let expected = "to be able to send".to_owned();
                    return Err(self.mismatch(number, expected, error.to_string()));
                }
            }
        }
        self.sent = bytes;
        Ok(())
    }

    /// Reads until the line has come, or something else.
    fn expect(&mut self, line: &Line) -> Result<(), Mismatch> {
        let ended = match line.pattern.exact() {
            Some(expected) => {
                let ended = self.read_while(|buffer| {
                    buffer.len() < expected.len() && expected.starts_with(buffer)
                });
                if self.buffer.starts_with(expected) {
                    self.buffer.drain(..expected.len());
                    return Ok(());
                }
                ended
            }
            None => {
                let ended = self.read_while(|buffer| !buffer.contains(&b'\n'));
                let end = self.buffer.iter().position(|byte| *byte == b'\n');
                let end = end.map_or(self.buffer.len(), |end| end + 1);
                if line.pattern.matches(&self.buffer[..end], &mut self.kept) {
                    self.buffer.drain(..end);
                    return Ok(());
                }
                ended
            }
        };
        // Show the whole line that came instead.
        let ended = ended.or_else(|| self.read_while(|buffer| !buffer.contains(&b'\n')));
        let got = self.got(ended);
        Err(self.mismatch(line.number, line.pattern.to_string(), got))
    }

    fn expect_closed(&mut self, number: usize) -> Result<(), Mismatch> {
        match self.read_while(|buffer| buffer.is_empty()) {
            Some(End::Closed) => Ok(()),
            ended => {
                let got = self.got(ended);
                Err(self.mismatch(number, "the other side to close".to_owned(), got))
            }
        }
    }

    /// Asks for one more answer; anything before it is too much.
    fn nothing_left(&mut self) -> Result<(), Mismatch> {
        let expected = "nothing more than the answer to this".to_owned();
        let sent = self.stream.write_all(b"mn\r\n").and_then(|()| self.stream.flush());
        self.sent = b"mn\r\n".to_vec();
        if let Err(error) = sent {
            return Err(self.mismatch(0, expected, error.to_string()));
        }
        let ended = self.read_while(|buffer| !buffer.contains(&b'\n'));
        if self.buffer == b"MN\r\n" {
            return Ok(());
        }
        let got = self.got(ended);
        Err(self.mismatch(0, expected, got))
    }

    /// Reads as long as more is wanted and comes; says why it stopped, if not because it was
    /// enough.
    fn read_while(&mut self, more: impl Fn(&[u8]) -> bool) -> Option<End> {
        let mut chunk = [0; 4096];
        while more(&self.buffer) {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(End::Closed),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if ends(&error) => return Some(End::Closed),
                Err(error) => return Some(End::Failed(error)),
            }
        }
        None
    }

    fn got(&self, ended: Option<End>) -> String {
        let mut got = shown(&self.buffer);
        match ended {
            None => {}
            Some(End::Closed) => got.push_str(" and then the end of the connection"),
            Some(End::Failed(error)) => got.push_str(&format!(" and then no more ({error})")),
        }
        got
    }

    fn mismatch(&mut self, number: usize, expected: String, got: String) -> Mismatch {
        let place = match number {
            0 => format!("{}: at the end", self.name),
            _ => format!("{}:{number}", self.name),
        };
        Mismatch { place, sent: std::mem::take(&mut self.sent), expected, got }
    }

    /// The ranges into which so many bytes are cut.
    fn pieces(&mut self, len: usize) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for at in 1..len {
            let cut = match self.split {
                Split::Whole => false,
                Split::EveryByte => true,
                Split::Random(_) => self.random.next().is_multiple_of(8),
            };
            if cut {
                pieces.push(start..at);
                start = at;
            }
        }
        if start < len {
            pieces.push(start..len);
        }
        pieces
    }
}

/// Whether an error is how a socket says that the other side has closed.
fn ends(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Why reading stopped before it was enough.
enum End {
    Closed,
    Failed(io::Error),
}

/// Marsaglia's xorshift: enough to vary where cuts fall.
struct Random(u64);

impl Random {
    fn new(split: Split) -> Self {
        match split {
            Split::Random(seed) => Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1),
            Split::Whole | Split::EveryByte => Self(1),
        }
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 32
    }
}

/// Bytes as a reader of messages can see them; long ones shortened in the middle.
fn shown(bytes: &[u8]) -> String {
    const EDGE: usize = 200;
    if bytes.is_empty() {
        return "nothing".to_owned();
    }
    if bytes.len() <= 3 * EDGE {
        return bytes.escape_ascii().to_string();
    }
    format!(
        "{} … {} bytes … {}",
        bytes[..EDGE].escape_ascii(),
        bytes.len() - 2 * EDGE,
        bytes[bytes.len() - EDGE..].escape_ascii()
    )
}

impl fmt::Display for crate::pattern::Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::pattern::Piece;
        for piece in &self.pieces {
            match piece {
                Piece::Bytes(bytes) => f.write_str(&shown(bytes))?,
                Piece::Anything => f.write_str("\\*")?,
                Piece::Number(name) => write!(f, "\\<{name}>")?,
                Piece::Between(range) => write!(f, "\\[{}-{}]", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    /// A server of three commands: `add N` counts up and answers, `twice` answers twice, `quit`
    /// closes, `mn` is answered.
    fn server() -> Memory<impl FnMut(&[u8], &mut Vec<u8>) -> bool> {
        let mut input = Vec::new();
        let mut sum = 0u64;
        Memory::new(move |bytes: &[u8], output: &mut Vec<u8>| {
            input.extend_from_slice(bytes);
            while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = input.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                match line.trim_end().split_once(' ').unwrap_or_else(|| (line.trim_end(), "")) {
                    ("add", n) => {
                        sum += n.parse::<u64>().unwrap();
                        output.extend_from_slice(format!("SUM {sum}\r\n").as_bytes());
                    }
                    ("twice", _) => output.extend_from_slice(b"OK\r\nOK\r\n"),
                    ("mn", _) => output.extend_from_slice(b"MN\r\n"),
                    ("quit", _) => return false,
                    _ => output.extend_from_slice(b"ERROR\r\n"),
                }
            }
            true
        })
    }

    fn play(text: &str) -> Result<(), String> {
        let transcript = Transcript::parse("t", text).unwrap();
        for split in [Split::EveryByte, Split::Random(7), Split::Whole] {
            Player::new(&transcript)
                .split(split)
                .play(&mut server())
                .map_err(|mismatch| mismatch.to_string())?;
        }
        Ok(())
    }

    #[test]
    fn a_conversation_as_expected() {
        let text = "\
> add 5
< SUM 5
> add 1
> add 1
< SUM 6
< SUM \\<sum>
> add \\<sum>
< SUM 1\\*
> twice
< OK
< OK
> quit
! closed
";
        assert_eq!(play(text), Ok(()));
    }

    #[test]
    fn another_answer_is_shown() {
        let expected =
            "t:2\n  sent      add 5\\r\\n\n  expected  SUM 6\\r\\n\n  got       SUM 5\\r\\n";
        assert_eq!(play("> add 5\n< SUM 6\n"), Err(expected.to_owned()));
        let error = play("> frob\n< SUM \\*\n").unwrap_err();
        assert!(error.ends_with("expected  SUM \\*\\r\\n\n  got       ERROR\\r\\n"), "{error}");
    }

    #[test]
    fn an_answer_too_little_or_too_much_is_seen() {
        let error = play("> add 1\n< SUM 1\n< SUM 2\n").unwrap_err();
        assert!(error.contains("t:3\n") && error.contains("got       nothing"), "{error}");
        let error = play("> twice\n< OK\n").unwrap_err();
        assert!(error.starts_with("t: at the end\n"), "{error}");
        assert!(error.contains("got       OK\\r\\n"), "{error}");
        assert_eq!(play("@ open\n> twice\n< OK\n"), Ok(()), "the header says not to look");
    }

    #[test]
    fn closing_is_expected_or_an_error() {
        let error = play("> add 1\n< SUM 1\n! closed\n").unwrap_err();
        assert!(error.contains("expected  the other side to close"), "{error}");
        let error = play("> quit\n< OK\n").unwrap_err();
        assert!(error.contains("nothing and then the end of the connection"), "{error}");
    }

    #[test]
    fn a_number_must_have_been_kept() {
        let error = play("> add \\<sum>\n").unwrap_err();
        assert!(error.contains("a number kept as \"sum\""), "{error}");
    }

    #[test]
    fn cuts_cover_everything_once() {
        for split in [Split::Whole, Split::EveryByte, Split::Random(1), Split::Random(2)] {
            let mut server = server();
            let mut talk = Talk {
                name: "t",
                stream: &mut server,
                buffer: Vec::new(),
                kept: Kept::new(),
                sent: Vec::new(),
                split,
                random: Random::new(split),
            };
            for len in [0, 1, 2, 100] {
                let all: Vec<usize> = talk.pieces(len).into_iter().flatten().collect();
                assert_eq!(all, (0..len).collect::<Vec<_>>(), "{split:?}");
            }
            let pieces = talk.pieces(1000).len();
            match split {
                Split::Whole => assert_eq!(pieces, 1),
                Split::EveryByte => assert_eq!(pieces, 1000),
                Split::Random(_) => assert!((20..500).contains(&pieces), "{pieces}"),
            }
        }
    }

    #[test]
    fn long_bytes_are_shortened() {
        let text = shown(&[b'x'; 5000]);
        assert!(text.len() < 500 && text.contains("4600 bytes"), "{text}");
    }
}
