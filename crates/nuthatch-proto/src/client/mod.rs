//! The client's end of a connection: commands out, answers in, matched in order.
//!
//! [`Connection`] speaks the text protocols, [`BinaryConnection`] the binary one; they are driven in
//! the same way.
//!
//! ```
//! use nuthatch_proto::client::{Answer, Command, Connection, Limits, Response};
//! use nuthatch_proto::types::{ItemFlags, Key};
//!
//! let mut connection = Connection::new(Limits::default());
//! let keys = [Key::new("apple")?, Key::new("pear")?];
//! connection.send(&Command::Get { keys: &keys, with_cas: false, exptime: None }, "request 1")?;
//! assert_eq!(connection.transmit(), b"get apple pear\r\n");
//! let n = connection.transmit().len();
//! connection.sent(n);
//!
//! // What the server says.
//! let input = b"VALUE pear 0 5\r\nyel";
//! connection.recv_space()[..input.len()].copy_from_slice(input);
//! connection.received(input.len());
//! assert!(connection.poll()?.is_none());
//! let input = b"lo\r\nEND\r\n";
//! connection.recv_space()[..input.len()].copy_from_slice(input);
//! connection.received(input.len());
//!
//! let answer = connection.poll()?.unwrap();
//! assert!(matches!(answer.response, Response::Value { key: b"pear", data: b"yello", .. }));
//! let answer = connection.poll()?.unwrap();
//! assert_eq!(answer.response, Response::End);
//! assert_eq!(answer.done(), Some("request 1"));
//! # Ok::<(), nuthatch_proto::Error>(())
//! ```

mod binary;
mod buffers;
mod command;
mod encode;
mod keys;
mod parse;

use std::collections::VecDeque;

pub use binary::{BinaryAnswer, BinaryCommand, BinaryConnection};
pub use command::{Command, MetaOptions};
pub use keys::KeyLine;

use self::buffers::{Inbox, Outbox};
use self::parse::{Expect, Read};
pub use crate::error::Error;
pub use crate::response::{ErrorKind, ErrorReply, MetaResponse, Response};
pub use crate::server::MetaStatus;
use crate::text::number;

/// What a server may make a client hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "callers set the limits they want")]
pub struct Limits {
    /// The longest line of an answer, in bytes, line end included.
    pub line_bytes_max: usize,
    /// The largest value, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Limits {
    /// Lines of 8 KiB: several times the longest line of memcached, which is that of a dump with
    /// an escaped key. Values of 64 MiB: servers are seldom given a larger `-I`.
    fn default() -> Self {
        Self { line_bytes_max: 8 << 10, value_bytes_max: 64 << 20 }
    }
}

/// The client's end of one connection, without the connection.
///
/// 1. [`send`](Self::send) queues commands; each has a tag, whatever the caller needs to know whom
///    to tell.
/// 2. [`transmit`](Self::transmit) gives what to write and [`sent`](Self::sent) takes note of it.
/// 3. [`recv_space`](Self::recv_space) gives memory to read into, [`received`](Self::received)
///    takes note of it, and [`poll`](Self::poll) is called until it gives `None`.
///
/// Servers answer in the order of the requests, and so the answers are matched. An error from
/// [`poll`](Self::poll) is final: nobody knows where the next answer begins, and the connection
/// must be closed; [`into_pending`](Self::into_pending) then tells who is still waiting.
///
/// **Quiet batches.** A quiet meta command may be left without an answer. Its opaque token is the
/// connection's own, so that an answer finds its request; the others before it are
/// [`Response::Unsaid`]. A batch ends with `mn`, [`Command::MetaNoop`]; if another command is sent
/// instead, the connection puts an `mn` before it, for an error line carries no token and could
/// not be told from the answer to that command. An error line inside a batch may be meant for any
/// command that was not answered by then, and all of them get it.
#[derive(Debug)]
pub struct Connection<T> {
    limits: Limits,
    out: Outbox,
    recv: Inbox,
    /// So many of the received bytes are known to hold no line end.
    searched: usize,
    /// Fewer of these bytes than this are no use.
    need: usize,
    pending: VecDeque<Pending<T>>,
    /// How many of them are the connection's own.
    n_own: usize,
    /// The opaque token of the next quiet command.
    next_opaque: u32,
    /// How many requests at the front of `pending` are known to get [`Response::Unsaid`], or the
    /// error, before anything more is read.
    n_unsaid: usize,
    /// An error line of the quiet batch at the front, and how many there were since the last
    /// answer that found its request.
    batch_error: Option<Box<[u8]>>,
    n_batch_errors: usize,
}

#[derive(Debug)]
struct Pending<T> {
    expect: Expect,
    /// None for an `mn` that the connection put in itself.
    tag: Option<T>,
}

/// An answer, or a part of one, and whose it is.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<'a, T> {
    /// What the server said.
    pub response: Response<'a>,
    /// Who asked.
    pub tag: Tag<'a, T>,
}

/// Who asked.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "an answer has an end or has not")]
pub enum Tag<'a, T> {
    /// More answers to the request follow.
    More(&'a mut T),
    /// The request is answered.
    Done(T),
}

impl<T> Answer<'_, T> {
    /// The tag, if the request is answered.
    pub fn done(self) -> Option<T> {
        match self.tag {
            Tag::Done(tag) => Some(tag),
            Tag::More(_) => None,
        }
    }
}

impl<T> Connection<T> {
    /// A connection on which nothing has been said yet.
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            out: Outbox::new(),
            recv: Inbox::new(),
            searched: 0,
            need: 0,
            pending: VecDeque::new(),
            n_own: 0,
            next_opaque: 0,
            n_unsaid: 0,
            batch_error: None,
            n_batch_errors: 0,
        }
    }

    /// Queues a command. Gives the tag back if there will be no answer (`noreply`).
    ///
    /// # Errors
    ///
    /// [`Error::Key`], [`Error::ValueUnsendable`] or [`Error::Opaque`] for what the protocol cannot
    /// carry; nothing is queued then.
    pub fn send(&mut self, command: &Command<'_>, tag: T) -> Result<Option<T>, Error> {
        let start = self.out.bytes.len();
        let ends_batch = match command {
            Command::MetaNoop => false,
            Command::MetaGet(_, options)
            | Command::MetaSet(_, options, _)
            | Command::MetaDelete(_, options)
            | Command::MetaArith(_, options) => !options.quiet,
            _ => true,
        };
        let is_in_batch = matches!(
            self.pending.back(),
            Some(Pending { expect: Expect::Meta { quiet: Some(_) }, .. })
        );
        let adds_noop = ends_batch && is_in_batch;
        if adds_noop {
            self.out.bytes.extend_from_slice(b"mn\r\n");
        }
        let expect = match encode::command(&mut self.out.bytes, command, self.next_opaque) {
            Ok(expect) => expect,
            Err(error) => {
                self.out.bytes.truncate(start);
                return Err(error);
            }
        };
        if adds_noop {
            self.pending.push_back(Pending { expect: Expect::Noop, tag: None });
            self.n_own += 1;
        }
        let Some(expect) = expect else {
            return Ok(Some(tag));
        };
        if let Expect::Meta { quiet: Some(_) } = expect {
            self.next_opaque = self.next_opaque.wrapping_add(1);
        }
        self.pending.push_back(Pending { expect, tag: Some(tag) });
        Ok(None)
    }

    /// What is to be written.
    pub fn transmit(&self) -> &[u8] {
        self.out.transmit()
    }

    /// Takes note that the first `n` bytes of [`transmit`](Self::transmit) were written.
    pub fn sent(&mut self, n: usize) {
        self.out.sent(n);
    }

    /// How many requests have not been answered.
    pub fn n_pending(&self) -> usize {
        self.pending.len() - self.n_own
    }

    /// Whether nothing is to be sent and nobody waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.transmit().is_empty() && self.pending.is_empty()
    }

    /// The tags of the requests that have not been answered, in order.
    pub fn into_pending(self) -> impl Iterator<Item = T> {
        self.pending.into_iter().filter_map(|pending| pending.tag)
    }

    /// Memory to read into, never empty.
    pub fn recv_space(&mut self) -> &mut [u8] {
        self.recv.space()
    }

    /// Takes note that `n` bytes were read into the beginning of
    /// [`recv_space`](Self::recv_space).
    pub fn received(&mut self, n: usize) {
        self.recv.received(n);
    }

    /// The next answer, or part of one; `None` if more input is needed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfStep`], [`Error::LineTooLong`] or [`Error::ValueTooLong`]. The connection is
    /// of no use then.
    pub fn poll(&mut self) -> Result<Option<Answer<'_, T>>, Error> {
        loop {
            if self.n_unsaid > 0 {
                self.n_unsaid -= 1;
                let response = match &self.batch_error {
                    Some(line) => ErrorReply::read(line).map_or(Response::Unsaid, Response::Error),
                    None => Response::Unsaid,
                };
                let Some(Pending { tag: Some(tag), .. }) = self.pending.pop_front() else {
                    unreachable!("quiet commands are the caller's");
                };
                return Ok(Some(Answer { response, tag: Tag::Done(tag) }));
            }
            let input = &self.recv.bytes[self.recv.start..self.recv.end];
            let Some(line_len) = line(input, &mut self.searched, &self.limits)? else {
                // Nor is half a line for nobody: what is asked next would be answered with it.
                if !input.is_empty() && self.pending.is_empty() {
                    return Err(parse::out_of_step(input));
                }
                return Ok(None);
            };
            if input.len() < self.need {
                return Ok(None);
            }
            let Some(front) = self.pending.front() else {
                return Err(parse::out_of_step(parse::trim_end(&input[..line_len])));
            };
            if matches!(front.expect, Expect::Meta { quiet: Some(_) }) {
                let line = parse::trim_end(&input[..line_len]);
                let is_error = ErrorReply::read(line).is_some();
                let n_quiet = n_quiet(&self.pending);
                if is_error && self.n_batch_errors < n_quiet {
                    // The first one is kept: it is no worse than any other.
                    self.batch_error.get_or_insert_with(|| line.into());
                    self.n_batch_errors += 1;
                    self.recv.start += line_len;
                    self.searched = 0;
                    continue;
                }
                // One error more than there are quiet commands is that of the `mn` itself: the
                // server does not know meta commands.
                let n_unsaid = if is_error { n_quiet } else { n_before(&self.pending, line)? };
                if n_unsaid > 0 {
                    self.n_unsaid = n_unsaid;
                    continue;
                }
            }
            let expect = front.expect;
            let (response, len, is_last) =
                match parse::answer(expect, input, line_len, &self.limits)? {
                    Read::Whole { response, len, is_last } => (response, len, is_last),
                    Read::Need(need) => {
                        self.need = need;
                        return Ok(None);
                    }
                };
            self.recv.start += len;
            self.searched = 0;
            self.need = 0;
            self.batch_error = None;
            self.n_batch_errors = 0;
            if !is_last {
                let Some(Pending { tag: Some(tag), .. }) = self.pending.front_mut() else {
                    unreachable!("only the caller's commands have several answers");
                };
                return Ok(Some(Answer { response, tag: Tag::More(tag) }));
            }
            if let Some(Pending { tag: Some(tag), .. }) = self.pending.pop_front() {
                return Ok(Some(Answer { response, tag: Tag::Done(tag) }));
            }
            self.n_own -= 1;
        }
    }
}

/// The length of the first line, line end included, if it is there.
fn line(input: &[u8], searched: &mut usize, limits: &Limits) -> Result<Option<usize>, Error> {
    let from = (*searched).min(input.len());
    let len = match memchr::memchr(b'\n', &input[from..]) {
        Some(at) => from + at + 1,
        None => {
            *searched = input.len();
            input.len() + 1
        }
    };
    if len > limits.line_bytes_max {
        return Err(Error::LineTooLong { limit: limits.line_bytes_max });
    }
    Ok((len <= input.len()).then_some(len))
}

/// How many quiet requests are at the front.
fn n_quiet<T>(pending: &VecDeque<Pending<T>>) -> usize {
    let is_quiet =
        |request: &&Pending<T>| matches!(request.expect, Expect::Meta { quiet: Some(_) });
    pending.iter().take_while(is_quiet).count()
}

/// How many quiet requests at the front were left without an answer, if `line` is what the server
/// says next.
fn n_before<T>(pending: &VecDeque<Pending<T>>, line: &[u8]) -> Result<usize, Error> {
    let mut tokens = crate::text::Tokens(line);
    let is_noop = tokens.next() == Some(b"MN");
    let opaque = tokens.find_map(|token| token.strip_prefix(b"O")).and_then(number::u32_strict);
    let is_meant = |expect: Expect| match expect {
        Expect::Noop => is_noop,
        Expect::Meta { quiet: Some(own) } => opaque == Some(own) && !is_noop,
        _ => false,
    };
    // An `mn` ends every batch, so what is meant is not behind the first one.
    for (n, request) in pending.iter().enumerate() {
        if is_meant(request.expect) {
            return Ok(n);
        }
        if request.expect == Expect::Noop {
            break;
        }
    }
    Err(parse::out_of_step(line))
}

#[cfg(test)]
mod tests;
