//! What is to be sent: bytes, values left where they are, and gaps for answers still to come.
//!
//! ```text
//!   arena   VALUE a 0 5\r\nhello\r\nVALUE b 0 90000\r\n│\r\nEND\r\n│HD\r\n
//!           ^head                                      ^           ^
//!   marks                                  Pin(b, 90000 bytes)   Gap(ticket 7)
//! ```
//!
//! Nearly all answers are bytes in the arena and nothing else. A mark says that at its place in
//! the arena something is to be sent that is not in it: a pinned value, an answer that is not
//! there yet (nothing behind it may go out), or one that came later than the answers behind it
//! and so has a queue of its own.
//!
//! Places are counted from the beginning of time (`base` is the place of the arena's first byte),
//! so that they stay right when the front of the arena is dropped.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::handler::Pinned;

/// The front of the arena is dropped when more than this has been sent of it, in bytes.
const SENT_BYTES_KEPT_MAX: usize = 64 << 10;

/// A queue of outgoing bytes; see the module's documentation.
pub(crate) struct SendQueue<P> {
    pub(crate) arena: Vec<u8>,
    /// The place of the first byte of the arena.
    base: u64,
    /// How much of the arena has been sent.
    head: usize,
    marks: VecDeque<Mark<P>>,
    /// The piece of the first mark's value to send next, and how much of it has been sent.
    front_piece: usize,
    front_sent: usize,
    /// Bytes of pinned values and late answers in `marks` that have not been sent.
    marked_bytes: usize,
    n_gaps: usize,
}

struct Mark<P> {
    at: u64,
    what: What<P>,
}

enum What<P> {
    Pin { pin: P, len: usize },
    Gap { ticket: u32, saved: Saved },
    Late(Box<SendQueue<P>>),
}

/// What has to be kept of a request until its answer comes.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) noreply: bool,
    /// The command line of a meta command, for its return flags; all but the value of a binary
    /// request.
    pub(crate) line: Option<Box<[u8]>>,
    pub(crate) retrieval: Option<Retrieval>,
}

/// Of a retrieval: whether more keys of the line follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retrieval {
    pub(crate) is_last: bool,
}

/// A place to go back to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReplyMark {
    at: u64,
    n_marks: usize,
}

impl<P> SendQueue<P> {
    pub(crate) const fn new() -> Self {
        Self {
            arena: Vec::new(),
            base: 0,
            head: 0,
            marks: VecDeque::new(),
            front_piece: 0,
            front_sent: 0,
            marked_bytes: 0,
            n_gaps: 0,
        }
    }

    /// Bytes queued, values and late answers included.
    pub(crate) fn len(&self) -> usize {
        self.arena.len() - self.head + self.marked_bytes
    }

    /// Whether there is nothing to send, now or later.
    pub(crate) fn is_empty(&self) -> bool {
        self.arena.len() == self.head && self.marks.is_empty()
    }

    /// Whether something can be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        match self.marks.front() {
            None => self.head < self.arena.len(),
            Some(mark) => mark.at > self.head_place() || !matches!(mark.what, What::Gap { .. }),
        }
    }

    /// How many answers are still to come.
    pub(crate) const fn n_gaps(&self) -> usize {
        self.n_gaps
    }

    /// Adds a value that stays where it is.
    pub(crate) fn push_pin(&mut self, pin: P, len: usize) {
        self.marked_bytes += len;
        self.push(What::Pin { pin, len });
    }

    /// Adds a gap for an answer that comes later.
    pub(crate) fn push_gap(&mut self, ticket: u32, saved: Saved) {
        self.n_gaps += 1;
        self.push(What::Gap { ticket, saved });
    }

    fn push(&mut self, what: What<P>) {
        let at = self.tail_place();
        self.marks.push_back(Mark { at, what });
    }

    /// What was saved for an answer that is still to come.
    pub(crate) fn saved(&mut self, ticket: u32) -> Option<&mut Saved> {
        self.marks.iter_mut().find_map(|mark| match &mut mark.what {
            What::Gap { ticket: this, saved } if *this == ticket => Some(saved),
            _ => None,
        })
    }

    /// Closes a gap with the answer that has come.
    pub(crate) fn fill_gap(&mut self, ticket: u32, answer: Self) {
        let is_gap =
            |mark: &Mark<P>| matches!(mark.what, What::Gap { ticket: this, .. } if this == ticket);
        if let Some(idx) = self.marks.iter().position(is_gap) {
            self.n_gaps -= 1;
            if answer.is_empty() {
                self.marks.remove(idx);
            } else {
                self.marked_bytes += answer.len();
                self.marks[idx].what = What::Late(Box::new(answer));
            }
        }
    }

    /// Drops everything; what it stands in is kept.
    pub(crate) fn clear(&mut self) {
        let mut arena = std::mem::take(&mut self.arena);
        arena.clear();
        *self = Self { arena, ..Self::new() };
    }

    /// Remembers the end of the queue.
    pub(crate) fn mark(&self) -> ReplyMark {
        ReplyMark { at: self.tail_place(), n_marks: self.marks.len() }
    }

    /// Drops everything that was added since `mark`. Nothing of it may have been sent.
    pub(crate) fn rollback(&mut self, mark: ReplyMark) {
        debug_assert!(mark.at >= self.head_place(), "an answer is sent only when it is complete");
        while self.marks.len() > mark.n_marks {
            match self.marks.pop_back().map(|mark| mark.what) {
                Some(What::Pin { len, .. }) => self.marked_bytes -= len,
                Some(What::Gap { .. }) => self.n_gaps -= 1,
                Some(What::Late(answer)) => self.marked_bytes -= answer.len(),
                None => break,
            }
        }
        self.arena.truncate(self.index(mark.at));
    }

    /// Gives up the arena if there is nothing in it.
    pub(crate) fn take_arena(&mut self) -> Vec<u8> {
        debug_assert!(self.is_empty(), "only an empty queue can be detached");
        self.base = 0;
        self.head = 0;
        std::mem::take(&mut self.arena)
    }

    /// The index in the arena of a place in it.
    fn index(&self, place: u64) -> usize {
        usize::try_from(place - self.base).expect("places in the queue are near its base")
    }

    const fn head_place(&self) -> u64 {
        self.base + self.head as u64
    }

    const fn tail_place(&self) -> u64 {
        self.base + self.arena.len() as u64
    }
}

impl<P: Pinned> SendQueue<P> {
    /// Fills `slices` from the front, in order, and says how many it filled.
    pub(crate) fn transmit<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0;
        self.fill(slices, &mut n);
        n
    }

    /// As [`transmit`](Self::transmit), from `slices[*n]` on. Says whether it got to the end of
    /// the queue.
    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>], n: &mut usize) -> bool {
        let mut from = self.head;
        for (idx, mark) in self.marks.iter().enumerate() {
            let to = self.index(mark.at);
            if from < to && !put(slices, n, &self.arena[from..to]) {
                return false;
            }
            from = to;
            let done = match &mark.what {
                What::Gap { .. } => false,
                What::Late(answer) => answer.fill(slices, n),
                What::Pin { pin, .. } => {
                    let (first, skip) =
                        if idx == 0 { (self.front_piece, self.front_sent) } else { (0, 0) };
                    fill_pin(pin, first, skip, slices, n)
                }
            };
            if !done {
                return false;
            }
        }
        from == self.arena.len() || put(slices, n, &self.arena[from..])
    }

    /// Drops `n` bytes from the front; gives back what could not be dropped because there was no
    /// more.
    pub(crate) fn sent(&mut self, mut n: usize) -> usize {
        loop {
            let Some(mark) = self.marks.front_mut() else {
                let step = n.min(self.arena.len() - self.head);
                self.head += step;
                n -= step;
                break;
            };
            let ahead = mark.at - (self.base + self.head as u64);
            let step = usize::try_from(ahead).map_or(n, |ahead| n.min(ahead));
            self.head += step;
            n -= step;
            if step as u64 != ahead {
                break;
            }
            let rest = match &mut mark.what {
                What::Gap { .. } => break,
                What::Late(answer) => {
                    let rest = answer.sent(n);
                    self.marked_bytes -= n - rest;
                    if !answer.is_empty() {
                        n = rest;
                        break;
                    }
                    rest
                }
                What::Pin { pin, len } => {
                    let rest = drop_pin(pin, &mut self.front_piece, &mut self.front_sent, n);
                    let sent = (n - rest).min(*len);
                    *len -= sent;
                    self.marked_bytes -= sent;
                    if pin.piece(self.front_piece).is_some() {
                        n = rest;
                        break;
                    }
                    // Had the pieces less than was promised, the stream would be out of step; the
                    // count at least stays right.
                    debug_assert!(*len == 0, "a pinned value has as many bytes as was said");
                    self.marked_bytes -= *len;
                    rest
                }
            };
            n = rest;
            self.marks.pop_front();
            self.front_piece = 0;
            self.front_sent = 0;
        }
        self.drop_sent();
        n
    }

    /// Frees what has been sent of the arena.
    fn drop_sent(&mut self) {
        if self.head == self.arena.len() || self.head > SENT_BYTES_KEPT_MAX {
            self.base = self.head_place();
            self.arena.drain(..self.head);
            self.head = 0;
        }
    }
}

impl<P> std::fmt::Debug for SendQueue<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendQueue")
            .field("bytes", &self.len())
            .field("marks", &self.marks.len())
            .field("gaps", &self.n_gaps)
            .finish()
    }
}

/// Puts one slice; says whether there was room for it.
fn put<'a>(slices: &mut [IoSlice<'a>], n: &mut usize, bytes: &'a [u8]) -> bool {
    match slices.get_mut(*n) {
        Some(slice) => {
            *slice = IoSlice::new(bytes);
            *n += 1;
            true
        }
        None => false,
    }
}

fn fill_pin<'a, P: Pinned>(
    pin: &'a P,
    first: usize,
    mut skip: usize,
    slices: &mut [IoSlice<'a>],
    n: &mut usize,
) -> bool {
    let mut idx = first;
    while let Some(piece) = pin.piece(idx) {
        let piece = &piece[skip.min(piece.len())..];
        if !piece.is_empty() && !put(slices, n, piece) {
            return false;
        }
        skip = 0;
        idx += 1;
    }
    true
}

/// Moves the position in a pinned value by up to `n` bytes and past every piece that is used up;
/// gives back what is left of `n`.
fn drop_pin<P: Pinned>(pin: &P, idx: &mut usize, sent: &mut usize, mut n: usize) -> usize {
    while let Some(piece) = pin.piece(*idx) {
        let step = n.min(piece.len() - *sent);
        *sent += step;
        n -= step;
        if *sent < piece.len() {
            break;
        }
        *idx += 1;
        *sent = 0;
    }
    n
}

#[cfg(test)]
mod tests;
