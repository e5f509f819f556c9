//! A state machine as a stream.

use std::io::{self, Read, Write};

/// A server without a socket: each write is given to a function, which appends its answer.
///
/// Reading gives the answers; where there is none, an error of the kind
/// [`WouldBlock`](io::ErrorKind::WouldBlock), or the end of the stream once the function has said
/// that it closes.
#[derive(Debug)]
pub struct Memory<F> {
    serve: F,
    answers: Vec<u8>,
    open: bool,
}

impl<F: FnMut(&[u8], &mut Vec<u8>) -> bool> Memory<F> {
    /// Makes a stream of a function that takes bytes, appends answers, and says whether the
    /// connection goes on.
    pub fn new(serve: F) -> Self {
        Self { serve, answers: Vec::new(), open: true }
    }
}

impl<F> Read for Memory<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.answers.is_empty() && self.open {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "no answer"));
        }
        let len = buffer.len().min(self.answers.len());
        buffer[..len].copy_from_slice(&self.answers[..len]);
        self.answers.drain(..len);
        Ok(len)
    }
}

impl<F: FnMut(&[u8], &mut Vec<u8>) -> bool> Write for Memory<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What comes after the end is lost, as on a socket that nobody reads any more.
        if self.open {
            self.open = (self.serve)(bytes, &mut self.answers);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_and_then_the_end() {
        let mut echo = Memory::new(|bytes: &[u8], output: &mut Vec<u8>| {
            output.extend_from_slice(bytes);
            !bytes.ends_with(b"!")
        });
        assert_eq!(echo.read(&mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        echo.write_all(b"ab").unwrap();
        echo.write_all(b"c!").unwrap();
        echo.write_all(b"lost").unwrap();
        let mut text = String::new();
        echo.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc!");
    }
}
