//! What a server puts behind a session: the trait that answers requests.

use crate::{Reply, Request};

/// Answers requests. One handler serves the connections of one worker; it is called for one
/// request at a time and never waits.
pub trait Handler {
    /// Item memory that the handler keeps in place until it has been sent.
    type Pin: Pinned;
    /// A place for a value that is still arriving.
    type Sink: Sink;

    /// Answers one request by writing into `reply`.
    ///
    /// `noreply`, `q` and quiet opcodes are the reply's business: the handler writes what it
    /// found, and what the client asked not to hear is dropped.
    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, Self::Pin>) -> Outcome;

    /// Asks for a place of `len` bytes for the value of a store request that has not arrived yet
    /// (`request` has [`Value::Reserved`](crate::Value::Reserved)).
    ///
    /// # Errors
    ///
    /// The error line to answer with, without its line end; the session swallows the value first.
    /// What a failed store does to an old item of that key is the handler's business, here.
    fn reserve(&mut self, request: &Request<'_>, len: usize) -> Result<Self::Sink, &'static str>;

    /// Answers the store request for which [`reserve`](Self::reserve) gave `sink`, now that all of
    /// the value is in it.
    fn commit(
        &mut self,
        request: Request<'_>,
        sink: Self::Sink,
        reply: &mut Reply<'_, Self::Pin>,
    ) -> Outcome;
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a session acts on each of them")]
pub enum Outcome {
    /// Answered.
    Done,
    /// The answer comes later: from the [`Later`](crate::Later) that [`Reply::later`] gave, or
    /// through [`Session::complete`](crate::Session::complete) with the ticket that
    /// [`Reply::ticket`] gave. Answers to requests behind it wait for it, and requests behind a
    /// login ([`Request::Auth`], [`Request::Sasl`]) are not looked at before.
    Pending,
    /// Answered as far as there is an answer; from here on the connection is no longer the
    /// session's (`watch`, the dumps): it belongs to the [`Feed`](crate::Feed) that was given to
    /// [`Reply::feed`], or to the driver. See [`Want::Stream`](crate::Want::Stream).
    Stream,
    /// Answered; the connection ends when the answer has been sent.
    Close,
}

/// Item memory that stays as it is until it is dropped. It need not cross threads.
pub trait Pinned {
    /// The `index`-th contiguous piece of the value, `None` after the last one. Asked again, it is
    /// the same memory; a piece may be empty.
    fn piece(&self, index: usize) -> Option<&[u8]>;
}

/// A place into which a value is read as it arrives.
pub trait Sink {
    /// The next contiguous piece still to be filled; empty when all of it is. If it is empty
    /// before all of the value has arrived, memory has run out: the rest is skipped and
    /// `SERVER_ERROR Out of memory during read` is the answer.
    fn space(&mut self) -> &mut [u8];
    /// Says that the first `n` bytes of [`space`](Self::space) have been written.
    fn filled(&mut self, n: usize);
}
