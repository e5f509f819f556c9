//! Answers: what a handler writes, and what of it the client hears.
//!
//! Everything that may be left unsaid is decided here. memcached's rules:
//!
//! | asked with | left out | always sent |
//! |---|---|---|
//! | classic command, `noreply` | everything, errors too | – |
//! | `mg … q` | `EN` | hits, errors |
//! | `ms … q`, `md … q` | `HD` | `NS` `EX` `NF`, errors |
//! | `ma … q` | `HD`, `VA` | `NF` `EX` `NS`, errors |
//! | quiet opcode that asks for an item | miss | hits, errors |
//! | any other quiet opcode | success | everything else |
//!
//! To a request of the binary protocol the same methods write frames; what they make of status
//! and error lines is in [`crate::binary`].

use std::any::Any;
use std::fmt::Display;
use std::io::Write as _;

use nuthatch_types::{Cas, Deleted, ItemFlags, Key, Stored};

use super::feed::Feed;
use super::handler::Outcome;
use super::late::{Desk, Later};
use super::sendq::{ReplyMark, Retrieval, Saved, SendQueue};
use crate::binary::{self, Head, Status, Verb, write as frame};
use crate::request::{Meta, Request};
use crate::text::encode::{self, CRLF};
use crate::text::meta::{MetaFlags, bit};

/// The return flags that say something about an item.
const FACT_LETTERS: u64 =
    bit(b's') | bit(b't') | bit(b'c') | bit(b'f') | bit(b'l') | bit(b'h') | ECHO_LETTERS;

/// The return flags that repeat what was asked.
const ECHO_LETTERS: u64 = bit(b'O') | bit(b'k');

/// The answer to one request, being written.
///
/// A handler calls the method that says what it found; quiet and `noreply` requests are heeded
/// here and not by the handler. What is written is sent when the session gets to it, in the order
/// of the requests.
pub struct Reply<'q, P> {
    queue: &'q mut SendQueue<P>,
    start: ReplyMark,
    context: Context<'q>,
    desk: &'q mut Desk<P>,
    feed: &'q mut Option<Box<dyn Feed>>,
    is_pipelined: bool,
    has_failed: bool,
}

/// What an answer depends on besides what was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) noreply: bool,
    pub(crate) kind: Kind<'a>,
    /// The command line, for answers that come later.
    pub(crate) line: &'a [u8],
    /// The request is a login.
    pub(crate) is_login: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    Plain,
    Retrieval(Retrieval),
    Get(Meta<'a>),
    Set(Meta<'a>),
    Delete(Meta<'a>),
    Arith(Meta<'a>),
    /// Of the binary protocol.
    Frame(Head),
}

impl<'a> Context<'a> {
    #[inline]
    pub(crate) const fn new(request: &Request<'a>, noreply: bool, line: &'a [u8]) -> Self {
        let kind = match request {
            Request::Get(_) => Kind::Retrieval(Retrieval { is_last: true }),
            Request::MetaGet(meta) => Kind::Get(*meta),
            Request::MetaSet(set) => Kind::Set(set.meta),
            Request::MetaDelete(meta) => Kind::Delete(*meta),
            Request::MetaArith(meta) => Kind::Arith(*meta),
            _ => Kind::Plain,
        };
        Self { noreply, kind, line, is_login: false }
    }

    /// An answer that depends on nothing.
    pub(crate) const fn plain(noreply: bool) -> Self {
        Self { noreply, kind: Kind::Plain, line: b"", is_login: false }
    }

    /// An answer to a binary request; `line` is all of it but the value.
    pub(crate) const fn frame(head: Head, line: &'a [u8]) -> Self {
        Self { noreply: false, kind: Kind::Frame(head), line, is_login: false }
    }

    const fn meta(&self) -> Option<&Meta<'a>> {
        match &self.kind {
            Kind::Get(meta) | Kind::Set(meta) | Kind::Delete(meta) | Kind::Arith(meta) => {
                Some(meta)
            }
            Kind::Plain | Kind::Retrieval(_) | Kind::Frame(_) => None,
        }
    }

    /// Whether a status line is dropped.
    const fn is_muted(&self) -> bool {
        self.noreply
    }

    /// Whether a meta status is dropped.
    fn is_quiet(&self, status: MetaStatus) -> bool {
        let unsaid = match self.kind {
            Kind::Get(_) => MetaStatus::Miss,
            _ => MetaStatus::Done,
        };
        status == unsaid && self.meta().is_some_and(|meta| meta.flags.is_quiet())
    }
}

/// The status codes of meta commands that need no item to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the protocol has these and no others")]
pub enum MetaStatus {
    /// `HD`: done.
    Done,
    /// `EN`: `mg` found nothing.
    Miss,
    /// `NF`: there is no such item.
    NotFound,
    /// `NS`: not stored.
    NotStored,
    /// `EX`: the CAS number did not match.
    Exists,
}

impl MetaStatus {
    /// The code on the wire.
    pub const fn code(self) -> &'static [u8; 2] {
        match self {
            Self::Done => b"HD",
            Self::Miss => b"EN",
            Self::NotFound => b"NF",
            Self::NotStored => b"NS",
            Self::Exists => b"EX",
        }
    }
}

impl From<Stored> for MetaStatus {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Stored => Self::Done,
            Stored::NotStored => Self::NotStored,
            Stored::Exists => Self::Exists,
            Stored::NotFound => Self::NotFound,
        }
    }
}

impl From<Deleted> for MetaStatus {
    fn from(deleted: Deleted) -> Self {
        match deleted {
            Deleted::Deleted => Self::Done,
            Deleted::NotFound => Self::NotFound,
            Deleted::Exists => Self::Exists,
        }
    }
}

/// What the return flags of meta commands can say about an item. A field whose flag the client
/// did not ask for is never looked at.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "handlers make them; the protocol sets the fields")]
pub struct ItemFacts {
    /// `f`: the client flags.
    pub flags: ItemFlags,
    /// `c`: the CAS number.
    pub cas: Cas,
    /// `s`: the value's length in bytes.
    pub size: usize,
    /// `t`: the seconds left to live; `None` if the item never expires (−1 on the wire).
    pub ttl: Option<u32>,
    /// `l`: the seconds since the last access, before this one.
    pub last_access: u32,
    /// `h`: whether the item had been fetched before.
    pub fetched: bool,
    /// The item was stored with a base64 key, so `k` returns it in base64 with a `b`. This is a
    /// property of the item and not of the request.
    pub key_is_binary: bool,
    /// `Z`: another client has been given the recache token.
    pub token_sent: bool,
    /// `X`: the item is stale.
    pub stale: bool,
    /// `W`: this client is to recache the item.
    pub won: bool,
}

/// What `me` says about an item.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "handlers make them; the protocol sets the fields")]
pub struct DebugFacts {
    /// The item was stored with a base64 key.
    pub key_is_binary: bool,
    /// The seconds left to live; `None` if the item never expires.
    pub ttl: Option<u32>,
    /// The seconds since the last access.
    pub last_access: u32,
    /// The CAS number.
    pub cas: Cas,
    /// Whether the item has been fetched.
    pub fetched: bool,
    /// The slab class.
    pub class: u32,
    /// The item's whole size in bytes, header included.
    pub size: usize,
}

/// Names an answer that is still to come; see [`Reply::ticket`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ticket(pub(crate) u32);

impl<'q, P> Reply<'q, P> {
    pub(crate) fn new(
        queue: &'q mut SendQueue<P>,
        desk: &'q mut Desk<P>,
        feed: &'q mut Option<Box<dyn Feed>>,
        context: Context<'q>,
    ) -> Self {
        let (start, is_pipelined) = (queue.mark(), !queue.is_empty());
        Self { queue, start, context, desk, feed, is_pipelined, has_failed: false }
    }

    /// The number of the connection that asks; see [`Session::set_conn`](crate::Session::set_conn).
    pub const fn conn(&self) -> u64 {
        self.desk.conn
    }

    /// The user whom the connection that asks has logged in as, if it has.
    pub fn user(&self) -> Option<&[u8]> {
        self.desk.user()
    }

    /// What the handler keeps of this connection from one request to the next: what `make` made
    /// when it was first asked for. It goes with the connection; there is one, so asked for as
    /// another type, it is made anew.
    pub fn keep<T: Any + Send>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let kept = self.desk.kept();
        if !kept.as_ref().is_some_and(|kept| kept.is::<T>()) {
            *kept = Some(Box::new(make()));
        }
        let kept = kept.as_mut().and_then(|kept| kept.downcast_mut());
        kept.expect("it is of this type, or has just been made")
    }

    // Status lines.

    /// Writes a status line, given without its line end (`OK`, `TOUCHED`, `RESET` …). To a binary
    /// request it is a status, and a line that says more than that is the value of the answer.
    pub fn line(&mut self, text: &str) {
        if let Kind::Frame(head) = self.context.kind {
            let (status, body) = binary::outcome(text);
            return self.frame(head, status, Cas(0), body.as_bytes());
        }
        if !self.context.is_muted() {
            encode::line(&mut self.queue.arena, text.as_bytes());
        }
    }

    /// Writes an error line, given without its line end, in place of all that this answer had so
    /// far. Errors of meta commands, and of binary requests, are sent even to who asked for quiet.
    pub fn error(&mut self, line: &str) {
        self.has_failed = true;
        self.queue.rollback(self.start);
        if let Kind::Frame(head) = self.context.kind {
            let (status, text) = binary::refusal(head.verb, line);
            return frame::response(&mut self.queue.arena, head, status, Cas(0), text.as_bytes());
        }
        if !self.context.is_muted() {
            encode::line(&mut self.queue.arena, line.as_bytes());
        }
    }

    /// Answers a store command, of which a binary client would hear the item's new CAS number:
    /// [`stored_as`](Self::stored_as) tells it.
    pub fn stored(&mut self, stored: Stored) {
        self.stored_as(stored, Cas(0));
    }

    /// Answers a store command: the outcome and the CAS number of what was stored.
    pub fn stored_as(&mut self, stored: Stored, cas: Cas) {
        if let Kind::Frame(head) = self.context.kind {
            let status = match (stored, head.verb) {
                (Stored::Stored, _) => return self.frame(head, Status::OK, cas, b""),
                (Stored::Exists, _) => Status::EXISTS,
                (Stored::NotFound, _) => Status::NOT_FOUND,
                (Stored::NotStored, Some(Verb::Add)) if !head.compares => Status::EXISTS,
                (Stored::NotStored, Some(Verb::Replace)) if !head.compares => Status::NOT_FOUND,
                (Stored::NotStored, _) => Status::NOT_STORED,
            };
            return self.frame(head, status, Cas(0), status.text().as_bytes());
        }
        self.line(match stored {
            Stored::Stored => "STORED",
            Stored::NotStored => "NOT_STORED",
            Stored::Exists => "EXISTS",
            Stored::NotFound => "NOT_FOUND",
        });
    }

    /// Answers a `delete` that is not a meta command.
    pub fn deleted(&mut self, deleted: Deleted) {
        self.line(match deleted {
            Deleted::Deleted => "DELETED",
            Deleted::NotFound => "NOT_FOUND",
            Deleted::Exists => "EXISTS",
        });
    }

    /// Answers `touch`. A binary client would hear the item's flags and CAS number:
    /// [`touched_as`](Self::touched_as) tells them.
    pub fn touched(&mut self, found: bool) {
        self.touched_as(found.then_some((ItemFlags(0), Cas(0))));
    }

    /// Answers `touch`, with the flags and the CAS number of the item if there is one.
    pub fn touched_as(&mut self, found: Option<(ItemFlags, Cas)>) {
        if let (Kind::Frame(head), Some((flags, cas))) = (self.context.kind, found) {
            return frame::item(&mut self.queue.arena, head, b"", flags, cas, 0);
        }
        self.line(if found.is_some() { "TOUCHED" } else { "NOT_FOUND" });
    }

    /// Answers `incr` and `decr` with the new number. A binary client would hear the item's new CAS
    /// number: [`number_as`](Self::number_as) tells it.
    pub fn number(&mut self, number: u64) {
        self.number_as(number, Cas(0));
    }

    /// Answers `incr` and `decr` with the new number and the item's new CAS number.
    pub fn number_as(&mut self, number: u64, cas: Cas) {
        if let Kind::Frame(head) = self.context.kind {
            return self.frame(head, Status::OK, cas, &number.to_be_bytes());
        }
        if !self.context.is_muted() {
            encode::number(&mut self.queue.arena, number);
            self.queue.arena.extend_from_slice(CRLF);
        }
    }

    // Retrievals.

    /// Adds an item to the answer of a retrieval. With `cas` its number is shown (`gets`, `gats`,
    /// and to binary requests).
    pub fn value(&mut self, key: Key<'_>, flags: ItemFlags, value: &[u8], cas: Option<Cas>) {
        let out = &mut self.queue.arena;
        if let Kind::Frame(head) = self.context.kind {
            frame::item(
                out,
                head,
                shown_key(head, key),
                flags,
                cas.unwrap_or_default(),
                value.len(),
            );
            return out.extend_from_slice(value);
        }
        out.reserve(value.len() + 2 * Key::LEN_MAX);
        encode::value_header(out, key.as_bytes(), flags, value.len(), cas);
        encode::line(out, value);
    }

    /// As [`value`](Self::value), for a value of `len` bytes that is sent from where it is. The
    /// pieces of `pin` must sum to `len`.
    pub fn value_pinned(
        &mut self,
        key: Key<'_>,
        flags: ItemFlags,
        len: usize,
        pin: P,
        cas: Option<Cas>,
    ) {
        if let Kind::Frame(head) = self.context.kind {
            let out = &mut self.queue.arena;
            frame::item(out, head, shown_key(head, key), flags, cas.unwrap_or_default(), len);
            if len > 0 {
                self.queue.push_pin(pin, len);
            }
            return;
        }
        encode::value_header(&mut self.queue.arena, key.as_bytes(), flags, len, cas);
        self.pinned(pin, len);
    }

    /// Ends the answer to a retrieval, or to a request for statistics. To a binary request for an
    /// item it says that there is none, if none has been added.
    pub fn end(&mut self) {
        if let Kind::Frame(head) = self.context.kind {
            return self.end_frame(head);
        }
        // The keys of a very long line come in several requests; the client sees one.
        let is_last = match self.context.kind {
            Kind::Retrieval(retrieval) => retrieval.is_last,
            _ => true,
        };
        if is_last {
            encode::line(&mut self.queue.arena, b"END");
        }
    }

    /// Adds a configuration to the answer of [`Config::Get`](crate::Config::Get);
    /// [`end`](Self::end) ends it.
    pub fn config(&mut self, name: Key<'_>, flags: ItemFlags, payload: &[u8]) {
        let out = &mut self.queue.arena;
        if let Kind::Frame(head) = self.context.kind {
            let key = shown_key(head, name);
            frame::item(out, head, key, flags, Cas(0), payload.len());
            return out.extend_from_slice(payload);
        }
        out.extend_from_slice(b"CONFIG ");
        out.extend_from_slice(name.as_bytes());
        out.push(b' ');
        encode::number(out, flags.0);
        out.push(b' ');
        encode::number(out, payload.len());
        out.extend_from_slice(CRLF);
        encode::line(out, payload);
    }

    // Meta commands.

    /// Answers a meta command with a status and the return flags that repeat what was asked
    /// (`O`, `k`). For everything but hits of `mg`, successes of `ma` and the outcomes of `ms`.
    pub fn meta_status(&mut self, status: MetaStatus) {
        if self.context.is_quiet(status) {
            return;
        }
        let Some(meta) = self.context.meta().copied() else {
            return self.line(str::from_utf8(status.code()).expect("codes are letters"));
        };
        let out = &mut self.queue.arena;
        out.extend_from_slice(status.code());
        let facts = ItemFacts { key_is_binary: meta.flags.is_key_base64(), ..Default::default() };
        return_flags(out, &meta, &facts, ECHO_LETTERS);
        out.extend_from_slice(CRLF);
    }

    /// Answers `mg` with an item but without its value.
    pub fn meta_hit(&mut self, facts: &ItemFacts) {
        self.queue.arena.extend_from_slice(b"HD");
        self.meta_facts(facts);
    }

    /// Answers `mg` with an item and its value.
    pub fn meta_value(&mut self, facts: &ItemFacts, value: &[u8]) {
        self.queue.arena.reserve(value.len() + 2 * Key::LEN_MAX);
        self.meta_value_header(facts, value.len());
        encode::line(&mut self.queue.arena, value);
    }

    /// As [`meta_value`](Self::meta_value), for a value of `len` bytes that is sent from where it
    /// is. The pieces of `pin` must sum to `len`.
    pub fn meta_value_pinned(&mut self, facts: &ItemFacts, len: usize, pin: P) {
        self.meta_value_header(facts, len);
        self.pinned(pin, len);
    }

    /// Answers `ms`: the outcome, the CAS number of the stored item (0 if it was not stored) and
    /// the length of the value, after appending if that was asked.
    pub fn meta_stored(&mut self, stored: Stored, cas: Cas, size: usize) {
        let status = MetaStatus::from(stored);
        if self.context.is_quiet(status) {
            return;
        }
        let out = &mut self.queue.arena;
        out.extend_from_slice(status.code());
        if let Some(meta) = self.context.meta() {
            let key_is_binary = meta.flags.is_key_base64();
            let facts = ItemFacts { cas, size, key_is_binary, ..Default::default() };
            return_flags(out, meta, &facts, bit(b'c') | bit(b's') | ECHO_LETTERS);
        }
        out.extend_from_slice(CRLF);
    }

    /// Answers a successful `ma`: the number if the client asked for it, and of the facts `c` and
    /// `t`.
    pub fn meta_number(&mut self, number: u64, cas: Cas, ttl: Option<u32>) {
        if self.context.is_quiet(MetaStatus::Done) {
            return;
        }
        let Some(meta) = self.context.meta().copied() else {
            return self.number(number);
        };
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        let wants_value = meta.flags.wants_value();
        let out = &mut self.queue.arena;
        if wants_value {
            out.extend_from_slice(b"VA ");
            encode::number(out, digits.len());
        } else {
            out.extend_from_slice(b"HD");
        }
        let key_is_binary = meta.flags.is_key_base64();
        let facts = ItemFacts { cas, ttl, key_is_binary, ..Default::default() };
        return_flags(out, &meta, &facts, bit(b'c') | bit(b't') | ECHO_LETTERS);
        out.extend_from_slice(CRLF);
        if wants_value {
            encode::line(out, digits);
        }
    }

    /// Answers `me`; `None` is a miss.
    pub fn meta_debug(&mut self, key: Key<'_>, facts: Option<&DebugFacts>) {
        let out = &mut self.queue.arena;
        let Some(facts) = facts else {
            return encode::line(out, b"EN");
        };
        out.extend_from_slice(b"ME ");
        if facts.key_is_binary || encode::breaks_line(key.as_bytes()) {
            crate::text::base64::encode(key.as_bytes(), out);
        } else {
            out.extend_from_slice(key.as_bytes());
        }
        out.extend_from_slice(b" exp=");
        match facts.ttl {
            Some(ttl) => encode::number(out, ttl),
            None => out.extend_from_slice(b"-1"),
        }
        out.extend_from_slice(b" la=");
        encode::number(out, facts.last_access);
        out.extend_from_slice(b" cas=");
        encode::number(out, facts.cas.0);
        out.extend_from_slice(if facts.fetched { b" fetch=yes" } else { b" fetch=no" });
        out.extend_from_slice(b" cls=");
        encode::number(out, facts.class);
        out.extend_from_slice(b" size=");
        encode::number(out, facts.size);
        out.extend_from_slice(CRLF);
    }

    // Administration.

    /// Adds a `STAT name value` line, or its frame.
    pub fn stat(&mut self, name: impl Display, value: impl Display) {
        if let Kind::Frame(head) = self.context.kind {
            let (name, value) = (format_args!("{name}"), format_args!("{value}"));
            return frame::stat(&mut self.queue.arena, head, name, value);
        }
        // Writing to memory does not fail, and a `Display` that does leaves a short line.
        let _ = write!(self.queue.arena, "STAT {name} {value}\r\n");
    }

    /// Adds bytes as they are. `noreply` mutes them. To a binary request they are the value of an
    /// answer of their own, and among statistics that of one by the name of `detailed`, as
    /// memcached wraps up `detail dump`.
    pub fn raw(&mut self, bytes: &[u8]) {
        if let Kind::Frame(head) = self.context.kind {
            let out = &mut self.queue.arena;
            let name: &[u8] = if head.verb == Some(Verb::Stat) { b"detailed" } else { b"" };
            return frame::named(out, head, Status::OK, name, bytes);
        }
        if !self.context.is_muted() {
            self.queue.arena.extend_from_slice(bytes);
        }
    }

    // Logins.

    /// Says that the client has logged in as this user, and is served from here on. In the answer
    /// to a login ([`Request::Auth`], [`Request::Sasl`]), at once or late; in any other answer it
    /// does nothing.
    pub fn log_in(&mut self, user: &[u8]) {
        debug_assert!(self.context.is_login, "only a login logs in");
        if self.context.is_login {
            self.desk.log_in(user);
        }
    }

    /// Answers a step of a login ([`Request::Sasl`]) after which another must follow.
    pub fn challenge(&mut self, challenge: &[u8]) {
        match self.context.kind {
            Kind::Frame(head) => self.frame(head, Status::AUTH_CONTINUE, Cas(0), challenge),
            _ => self.raw(challenge),
        }
    }

    // Order.

    /// Remembers how far the answer has got.
    pub fn mark(&self) -> ReplyMark {
        self.queue.mark()
    }

    /// Takes back what was written since `mark`, which must be of this very answer.
    pub fn rollback(&mut self, mark: ReplyMark) {
        self.queue.rollback(mark);
    }

    /// Leaves a place for an answer that comes later. The handler then returns
    /// [`Outcome::Pending`], and whoever has the answer calls
    /// [`Session::complete`](crate::Session::complete) with the ticket. What has been written
    /// before stays in front of it.
    pub fn ticket(&mut self) -> Ticket {
        let ticket = self.desk.next_ticket();
        let Context { noreply, kind, line, .. } = self.context;
        let saved = Saved {
            noreply,
            line: (self.context.meta().is_some() || self.is_binary()).then(|| line.into()),
            retrieval: match kind {
                Kind::Retrieval(retrieval) => Some(retrieval),
                _ => None,
            },
        };
        self.queue.push_gap(ticket, saved);
        Ticket(ticket)
    }

    /// As [`ticket`](Self::ticket), for a driver that waits with
    /// [`Session::poll_late`](crate::Session::poll_late), as the server does: the result answers,
    /// from whatever thread it is on.
    pub fn later(&mut self) -> Later<P> {
        let Ticket(ticket) = self.ticket();
        Later::new(self.desk.open_mailbox(), ticket)
    }

    /// Hands the connection over to `feed`: what has been written is sent first, then what the
    /// feed gives, and requests are served again when it ends. The handler returns what this
    /// returns.
    pub fn feed(&mut self, feed: impl Feed + 'static) -> Outcome {
        *self.feed = Some(Box::new(feed));
        Outcome::Stream
    }

    /// Whether the request is one of the binary protocol.
    pub const fn is_binary(&self) -> bool {
        matches!(self.context.kind, Kind::Frame(_))
    }

    /// Whether answers to earlier requests are still queued. memcached refuses the commands that
    /// take the connection over (`watch`, the dumps) then; a session would send what is queued
    /// first. This is the one thing here that depends on when bytes arrive and leave.
    pub const fn is_pipelined(&self) -> bool {
        self.is_pipelined
    }

    /// Whether the answer is an error.
    pub(crate) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Writes a frame, unless it says what a quiet opcode leaves unsaid.
    fn frame(&mut self, head: Head, status: Status, cas: Cas, body: &[u8]) {
        if !(head.quiet && status == Status::OK) {
            frame::response(&mut self.queue.arena, head, status, cas, body);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_frame(&mut self, head: Head) {
        let is_retrieval = head.verb.is_some_and(Verb::is_retrieval);
        if !is_retrieval {
            return frame::response(&mut self.queue.arena, head, Status::OK, Cas(0), b"");
        }
        if head.quiet || self.queue.mark() != self.start {
            return;
        }
        let status = Status::NOT_FOUND;
        let out = &mut self.queue.arena;
        match binary::key_of(self.context.line) {
            // Who asked for the key is told the key, and not in words that it is not there.
            Some(key) if head.verb.is_some_and(Verb::returns_key) => {
                frame::named(out, head, status, key, b"");
            }
            _ => frame::response(out, head, status, Cas(0), status.text().as_bytes()),
        }
    }

    fn meta_value_header(&mut self, facts: &ItemFacts, len: usize) {
        self.queue.arena.extend_from_slice(b"VA ");
        encode::number(&mut self.queue.arena, len);
        self.meta_facts(facts);
    }

    /// The return flags of a hit, and after them what the client did not ask for.
    fn meta_facts(&mut self, facts: &ItemFacts) {
        let out = &mut self.queue.arena;
        if let Some(meta) = self.context.meta() {
            return_flags(out, meta, facts, FACT_LETTERS);
        }
        for (is_so, flag) in [(facts.token_sent, b" Z"), (facts.stale, b" X"), (facts.won, b" W")] {
            if is_so {
                out.extend_from_slice(flag);
            }
        }
        out.extend_from_slice(CRLF);
    }

    fn pinned(&mut self, pin: P, len: usize) {
        if len > 0 {
            self.queue.push_pin(pin, len);
        }
        self.queue.arena.extend_from_slice(CRLF);
    }
}

/// The key that goes with a binary answer.
fn shown_key<'a>(head: Head, key: Key<'a>) -> &'a [u8] {
    if head.verb.is_some_and(Verb::returns_key) { key.as_bytes() } else { b"" }
}

impl<P> std::fmt::Debug for Reply<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("context", &self.context).field("queue", &self.queue).finish()
    }
}

/// Writes those of the requested return flags that are in `mask`, in the order of the request.
fn return_flags(out: &mut Vec<u8>, meta: &Meta<'_>, facts: &ItemFacts, mask: u64) {
    let flags: &MetaFlags<'_> = &meta.flags;
    if !flags.has_any(mask) {
        return;
    }
    for token in flags.tokens().filter(|token| bit(token[0]) & mask != 0) {
        match token[0] {
            b'O' => {
                out.push(b' ');
                out.extend_from_slice(token);
            }
            b'k' => encode::key_flag(out, meta.key.as_bytes(), facts.key_is_binary),
            b'c' => encode::flag(out, b'c', facts.cas.0),
            b'f' => encode::flag(out, b'f', facts.flags.0),
            b'h' => encode::flag(out, b'h', u8::from(facts.fetched)),
            b'l' => encode::flag(out, b'l', facts.last_access),
            b's' => encode::flag(out, b's', facts.size),
            b't' => match facts.ttl {
                Some(ttl) => encode::flag(out, b't', ttl),
                None => out.extend_from_slice(b" t-1"),
            },
            _ => {}
        }
    }
}
