//! The transcript format.
//!
//! ```text
//! # A comment. Empty lines are passed over.
//! @ args -I 1024 -o slab_chunk_max=1     a header: what the test that plays it should know
//! > set a 0 0 5                          sent, with \r\n
//! > hello
//! < STORED                               expected, with \r\n
//! > gets a
//! < VALUE a 0 5 \<cas>                   matches a run of digits, and keeps it as "cas"
//! < hello
//! < END
//! > cas a 0 0 1 \<cas>                   what was kept
//! > x
//! < STORED
//! > get \{251*k}                         251 times k
//! < CLIENT_ERROR \*                      \* matches what is left of the line
//! > mg a t
//! < HD t\[58-60]                         a number from 58 to 60
//! > version\n\                           a backslash at the end: no \r\n here
//! < VERSION \*
//! > quit
//! ! closed                               the other side has closed
//! ```
//!
//! One space stands between the mark and the text. In the text `\r`, `\n`, `\t`, `\s` (a space,
//! for the end of a line), `\\` and `\xNN` stand for bytes. Lines that follow one another with the
//! same mark are sent or expected together.

use std::{fs, io, path::Path};

use crate::pattern::{Pattern, Piece};

/// A conversation.
#[derive(Clone, Debug)]
pub struct Transcript {
    name: String,
    headers: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These lines go out together.
    Send(Vec<Line>),
    /// This line must come in.
    Expect(Line),
    /// The other side must have closed.
    Closed { number: usize },
}

/// One line with the number it has in the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) pattern: Pattern,
}

impl Transcript {
    /// Reads a transcript; `name` stands in messages.
    ///
    /// # Errors
    ///
    /// [`FormatError`] names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, FormatError> {
        let mut transcript = Self { name: name.to_owned(), headers: Vec::new(), steps: Vec::new() };
        for (number, line) in (1..).zip(text.lines()) {
            transcript.line(number, line).map_err(|problem| FormatError {
                name: name.to_owned(),
                number,
                problem,
            })?;
        }
        Ok(transcript)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// What the system said, or a [`FormatError`] in an [`io::Error`].
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Self::parse(&path.display().to_string(), &text).map_err(io::Error::other)
    }

    /// Reads every `.txt` file of a folder, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); a folder without any is an error too, because a test over it would
    /// test nothing.
    pub fn read_folder(folder: &Path) -> io::Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(io::Error::other(format!("{}: no transcripts", folder.display())));
        }
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The conversations that this crate holds ready, each of them had with memcached 1.6.45: what
    /// they expect is what it answers.
    ///
    /// # Errors
    ///
    /// As [`read_folder`](Self::read_folder).
    pub fn shared() -> io::Result<Vec<Self>> {
        Self::read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts"))
    }

    /// Whether a server of that version answers so: the header `@ since` names the first one that
    /// does.
    pub fn holds_for(&self, version: Version) -> bool {
        let since = self.header("since").map(Version::parse);
        since.is_none_or(|since| since.is_some_and(|since| since <= version))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the header `@ name text`, if there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, text)| text.as_str())
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (mark, text) = match line.split_once(' ') {
            Some((mark, text)) => (mark, text),
            None => (line, ""),
        };
        match mark {
            "" if text.is_empty() => {}
            _ if mark.starts_with('#') => {}
            "@" => {
                let (name, text) = text.split_once(' ').unwrap_or((text, ""));
                self.headers.push((name.to_owned(), text.to_owned()));
            }
            ">" => {
                let pattern = pattern(text)?;
                if pattern.has_wildcard() {
                    return Err("\\* and \\[ can only be expected".to_owned());
                }
                let line = Line { number, pattern };
                match self.steps.last_mut() {
                    Some(Step::Send(lines)) => lines.push(line),
                    _ => self.steps.push(Step::Send(vec![line])),
                }
            }
            "<" => self.steps.push(Step::Expect(Line { number, pattern: pattern(text)? })),
            "!" if text == "closed" => self.steps.push(Step::Closed { number }),
            _ => return Err("expected one of: # @ > < and \"! closed\"".to_owned()),
        }
        Ok(())
    }
}

/// A version of memcached.
///
/// ```
/// use nuthatch_testkit::Version;
///
/// assert!(Version::parse("1.6.9") < Version::parse("1.6.18"));
/// assert_eq!(Version::parse("1.6"), None);
/// ```
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version([u32; 3]);

impl Version {
    /// Newer than all.
    pub const NEWEST: Self = Self([u32::MAX; 3]);

    /// Reads three numbers with dots between them; what follows the third is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let mut number = || {
            let part = parts.next()?;
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part[..digits].parse().ok()
        };
        Some(Self([number()?, number()?, number()?]))
    }
}

/// Why text is not a transcript.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{name}:{number}: {problem}")]
pub struct FormatError {
    name: String,
    number: usize,
    problem: String,
}

/// Reads the text behind a mark.
fn pattern(text: &str) -> Result<Pattern, String> {
    let (text, line_end) = match text.strip_suffix('\\') {
        // An escaped backslash at the end of the line is not the mark of an open line.
        Some(open) if !ends_in_open_escape(open) => (open, false),
        _ => (text, true),
    };
    let mut pattern = Pattern::default();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        pattern.push_bytes(&rest.as_bytes()[..at]);
        rest = escape(&rest[at + 1..], &mut pattern)?;
    }
    pattern.push_bytes(rest.as_bytes());
    if line_end {
        pattern.push_bytes(b"\r\n");
    }
    Ok(pattern)
}

/// Whether the text ends in the first half of an escape, that is in an odd number of backslashes.
fn ends_in_open_escape(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Reads one escape, of which the backslash is behind; gives what follows it.
fn escape<'a>(text: &'a str, pattern: &mut Pattern) -> Result<&'a str, String> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or("a backslash with nothing behind it")?;
    let rest = chars.as_str();
    let byte = match kind {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        's' => b' ',
        '\\' => b'\\',
        'x' => {
            let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
            pattern.push_bytes(&[byte.ok_or("\\x wants two hexadecimal digits")?]);
            return Ok(&rest[2..]);
        }
        '*' => {
            pattern.pieces.push(Piece::Anything);
            return Ok(rest);
        }
        '[' => {
            let (inner, rest) = rest.split_once(']').ok_or("\\[ without ]")?;
            let range = inner
                .split_once('-')
                .and_then(|(from, to)| Some(from.parse().ok()?..=to.parse().ok()?));
            pattern.pieces.push(Piece::Between(range.ok_or("\\[from-to] wants two numbers")?));
            return Ok(rest);
        }
        '<' => {
            let (name, rest) = rest.split_once('>').ok_or("\\< without >")?;
            pattern.pieces.push(Piece::Number(name.to_owned()));
            return Ok(rest);
        }
        '{' => {
            let (inner, rest) = rest.split_once('}').ok_or("\\{ without }")?;
            let (count, text) = inner.split_once('*').ok_or("\\{count*text} wants a *")?;
            let count: usize = count.parse().map_err(|_| "\\{count*text} wants a number")?;
            pattern.push_bytes(text.repeat(count).as_bytes());
            return Ok(rest);
        }
        other => return Err(format!("\\{other} means nothing")),
    };
    pattern.push_bytes(&[byte]);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        match pattern(text).unwrap().pieces.as_slice() {
            [] => Vec::new(),
            [Piece::Bytes(bytes)] => bytes.clone(),
            other => panic!("not plain bytes: {other:?}"),
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(bytes("get a"), b"get a\r\n");
        assert_eq!(bytes("a\\s\\t\\x00\\xff\\\\"), b"a \t\0\xff\\\r\n");
        assert_eq!(bytes("version\\n\\"), b"version\n");
        assert_eq!(bytes("\\"), b"");
        assert_eq!(bytes("\\{3*ab}!"), b"ababab!\r\n");
        assert_eq!(bytes("\\\\\\"), b"\\");
    }

    #[test]
    fn lines_with_one_mark_are_sent_together() {
        let text = "# set\n\n@ args -m 5\n> set a 0 0 1\n> x\n< STORED\n< END\n! closed\n";
        let transcript = Transcript::parse("t", text).unwrap();
        assert_eq!(transcript.header("args"), Some("-m 5"));
        assert_eq!(transcript.header("arg"), None);
        let [Step::Send(sent), Step::Expect(first), Step::Expect(_), Step::Closed { number: 8 }] =
            transcript.steps.as_slice()
        else {
            panic!("{:?}", transcript.steps)
        };
        assert_eq!((sent.len(), sent[1].number, first.number), (2, 5, 6));
    }

    #[test]
    fn malformed_lines_are_named() {
        for (line, problem) in [
            ("get a", "expected one of: # @ > < and \"! closed\""),
            ("! open", "expected one of: # @ > < and \"! closed\""),
            ("> \\q", "\\q means nothing"),
            ("> \\x0", "\\x wants two hexadecimal digits"),
            ("> \\<cas", "\\< without >"),
            ("> \\{3ab}", "\\{count*text} wants a *"),
            ("> \\{x*ab}", "\\{count*text} wants a number"),
            ("> \\*", "\\* and \\[ can only be expected"),
            ("> \\[1-2]", "\\* and \\[ can only be expected"),
            ("< \\[1]", "\\[from-to] wants two numbers"),
            ("< \\[1-2", "\\[ without ]"),
        ] {
            let error = Transcript::parse("t", &format!("# fine\n{line}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("t:2: {problem}"));
        }
    }

    #[test]
    fn a_folder_without_transcripts_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Transcript::read_folder(folder.path()).is_err());
        fs::write(folder.path().join("b.txt"), "> b\n").unwrap();
        fs::write(folder.path().join("a.txt"), "> a\n").unwrap();
        fs::write(folder.path().join("notes.md"), "no transcript\n").unwrap();
        let all = Transcript::read_folder(folder.path()).unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].name().ends_with("a.txt"));
    }
}
