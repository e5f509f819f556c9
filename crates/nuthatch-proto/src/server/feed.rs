//! Answers without an end in sight: a dump, a watcher's log. Whoever has the bytes is asked for
//! more whenever the client has taken what there was.

use std::io;
use std::task::{Context, Poll};

/// How much a feed is asked for at a time, in bytes. All that a client that does not read makes
/// the server hold is this, and what the last of its lines went over.
pub const FEED_BYTES_MAX: usize = 16 << 10;

/// Sends bytes for as long as it likes, at the pace at which the client takes them; given to
/// [`Reply::feed`](crate::Reply::feed). It is dropped when it ends or the client goes away.
pub trait Feed: Send {
    /// Appends to `out` what there is, until [`Output::room`] is 0, and says what follows. It runs
    /// on the connection's thread and holds up the other connections there: it should come back
    /// after some hundred steps even if it has found nothing to append, with [`Fed::More`].
    ///
    /// `Poll::Pending` is for a feed that has nothing now; it has then arranged for `cx` to be
    /// woken. What it has appended before is sent.
    fn poll_feed(&mut self, cx: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed>;
}

/// What follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a session acts on each of them")]
pub enum Fed {
    /// More: ask again when this has been sent.
    More,
    /// Nothing: requests are served again.
    End,
    /// Nothing: the connection ends when this has been sent.
    Close,
}

/// Where a feed appends.
pub struct Output<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Output<'a> {
    /// Appends to a buffer of one's own; the session makes its own.
    pub const fn new(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        Self { bytes, start }
    }

    /// How many bytes are wanted this time; 0 is none. A line may go over it.
    pub const fn room(&self) -> usize {
        FEED_BYTES_MAX.saturating_sub(self.bytes.len() - self.start)
    }

    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("bytes", &(self.bytes.len() - self.start)).finish()
    }
}
