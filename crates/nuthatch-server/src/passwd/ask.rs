//! Asking for a password: without showing it on a terminal, else as a line of standard input.

use std::io::{self, BufRead, IsTerminal, Stdin};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use nuthatch_transport::passwords::PASSWORD_LEN_MAX;
use zeroize::Zeroizing;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing was typed, or nothing came.
    #[error("an empty password is none")]
    Empty,
    #[error("a password has at most {PASSWORD_LEN_MAX} bytes")]
    TooLong,
    #[error("a password has no zero byte: SASL cannot send one")]
    Zero,
    /// The second time it was another one.
    #[error("the two are not the same")]
    Differ,
    #[error("the password could not be read: {0}")]
    System(#[from] io::Error),
}

/// The password, from standard input: asked for twice if that is a terminal, else its first line.
pub(super) fn password(user: &str) -> Result<Zeroizing<Vec<u8>>, AskError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(stdin.lock());
    }
    // Not shown before the question is, so that nothing typed after it can be seen.
    let _silent = Silent::begin(&stdin)?;
    eprint!("Password for {user}: ");
    let password = line(stdin.lock())?;
    eprint!("Once more: ");
    // Whatever may be wrong with a line, it is not the same as the first.
    match line(stdin.lock()) {
        Err(AskError::System(error)) => Err(error.into()),
        Ok(again) if *again == *password => Ok(password),
        _ => Err(AskError::Differ),
    }
}

/// A line without its end.
fn line(input: impl BufRead) -> Result<Zeroizing<Vec<u8>>, AskError> {
    // Two bytes for the line's end and one to see that it is too long: never moved, so that no copy
    // stays behind.
    let room = PASSWORD_LEN_MAX + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    input.take(room as u64).read_until(b'\n', &mut bytes)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    match bytes.len() {
        0 => Err(AskError::Empty),
        len if len > PASSWORD_LEN_MAX => Err(AskError::TooLong),
        _ if bytes.contains(&0) => Err(AskError::Zero),
        _ => Ok(bytes),
    }
}

/// A terminal that does not show what is typed, until this is dropped. Signals still work: a shell
/// sets its terminal right again after a program that one has ended.
struct Silent<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl<'a> Silent<'a> {
    fn begin(stdin: &'a Stdin) -> io::Result<Self> {
        let before = termios::tcgetattr(stdin)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        // The line's end is shown, so that the next line begins where it should.
        silent.local_flags.insert(LocalFlags::ECHONL);
        // What was typed before the question is no answer to it.
        termios::tcsetattr(stdin, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { stdin, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = termios::tcsetattr(self.stdin, SetArg::TCSANOW, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_password_or_no_password() {
        for (text, expected) in [
            (&b"tea\n"[..], &b"tea"[..]),
            (b"tea\r\ncoffee\n", b"tea"),
            (b" tea: \xff", b" tea: \xff"),
        ] {
            assert_eq!(*line(text).unwrap(), expected);
        }
        let longest = "p".repeat(PASSWORD_LEN_MAX);
        assert_eq!(line(format!("{longest}\r\n").as_bytes()).unwrap().len(), PASSWORD_LEN_MAX);
        for longer in [format!("{longest}p\n"), longest.repeat(3)] {
            assert!(matches!(line(longer.as_bytes()), Err(AskError::TooLong)));
        }
        for empty in ["", "\n", "\r\n"] {
            assert!(matches!(line(empty.as_bytes()), Err(AskError::Empty)));
        }
        assert!(matches!(line(&b"a\0b\n"[..]), Err(AskError::Zero)));
    }
}
