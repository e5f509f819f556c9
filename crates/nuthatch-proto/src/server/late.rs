//! Answers that come late, from whichever thread has them: a mailbox for each session that ever
//! owed one.
//!
//! ```text
//!   handler ── Reply::later ──> Later ─────────── answer / drop ──┐   (any thread)
//!                 │                                               ▼
//!                 └─ leaves a gap in the send queue            mailbox ── wakes the driver
//!                                   ▲                             │
//!                                   └──── Session::poll_late ─────┘   (the driver's thread)
//! ```
//!
//! What crosses the threads is a closure that writes the answer; it runs where the session lives,
//! so that item memory never has to cross. A mailbox holds at most as many as there are gaps.

use std::any::Any;
use std::sync::Arc;
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use super::Reply;

/// What is written where somebody dropped the duty to answer.
const NO_ANSWER: &str = "SERVER_ERROR no answer";

/// An answer in the making: what writes it.
pub(crate) type Write<P> = Box<dyn FnOnce(&mut Reply<'_, P>) + Send>;

/// The duty to answer one request later; made by [`Reply::later`](crate::Reply::later).
///
/// It may go to any thread. It is fulfilled by [`answer`](Self::answer); dropped without that, the
/// client is told `SERVER_ERROR no answer`, so that its connection stays in step. If the client
/// goes away first, the answer is for nobody: see [`is_wanted`](Self::is_wanted).
///
/// ```
/// # use nuthatch_proto::{Handler, Outcome, Reply, Request, Sink};
/// # struct Slow;
/// # struct NoSink;
/// # impl Sink for NoSink {
/// #     fn space(&mut self) -> &mut [u8] { &mut [] }
/// #     fn filled(&mut self, _: usize) {}
/// # }
/// # struct NoPin;
/// # impl nuthatch_proto::Pinned for NoPin { fn piece(&self, _: usize) -> Option<&[u8]> { None } }
/// # impl Handler for Slow {
/// #     type Pin = NoPin;
/// #     type Sink = NoSink;
/// fn call(&mut self, _: Request<'_>, reply: &mut Reply<'_, NoPin>) -> Outcome {
///     let later = reply.later();
///     std::thread::spawn(move || {
///         // … long work, given up when nobody waits for it any more …
///         if later.is_wanted() {
///             later.answer(|reply| reply.line("OK"));
///         }
///     });
///     Outcome::Pending
/// }
/// #     fn reserve(&mut self, _: &Request<'_>, _: usize) -> Result<NoSink, &'static str> { Err("ERROR") }
/// #     fn commit(&mut self, _: Request<'_>, _: NoSink, _: &mut Reply<'_, NoPin>) -> Outcome { Outcome::Done }
/// # }
/// ```
#[must_use = "dropped, it answers with an error"]
pub struct Later<P> {
    /// `None` once it has been answered.
    mailbox: Option<Arc<Mailbox<P>>>,
    ticket: u32,
}

impl<P> Later<P> {
    pub(crate) const fn new(mailbox: Arc<Mailbox<P>>, ticket: u32) -> Self {
        Self { mailbox: Some(mailbox), ticket }
    }

    /// Answers. `write` runs on the connection's thread when it next has its turn, holding up the
    /// other connections there: it should write what has been found out and do no more. It cannot
    /// put the answer off again.
    pub fn answer(mut self, write: impl FnOnce(&mut Reply<'_, P>) + Send + 'static) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.put(self.ticket, Box::new(write));
        }
    }

    /// Whether the connection is still there.
    pub fn is_wanted(&self) -> bool {
        self.mailbox.as_ref().is_some_and(|mailbox| !mailbox.0.lock().is_closed)
    }
}

impl<P> Drop for Later<P> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.put(self.ticket, Box::new(|reply| reply.error(NO_ANSWER)));
        }
    }
}

impl<P> std::fmt::Debug for Later<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Later").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// What has been answered and not been fetched.
pub(crate) struct Mailbox<P>(Mutex<Mail<P>>);

struct Mail<P> {
    answers: Vec<(u32, Write<P>)>,
    /// Whoever waits for answers.
    waker: Option<Waker>,
    is_closed: bool,
}

impl<P> Mailbox<P> {
    fn new() -> Self {
        Self(Mutex::new(Mail { answers: Vec::new(), waker: None, is_closed: false }))
    }

    fn put(&self, ticket: u32, write: Write<P>) {
        let mut mail = self.0.lock();
        if mail.is_closed {
            // Dropping it may run anybody's code, so not under the lock.
            drop(mail);
            drop(write);
            return;
        }
        mail.answers.push((ticket, write));
        let waker = mail.waker.take();
        drop(mail);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll_take(&self, waker: &Waker) -> Poll<Vec<(u32, Write<P>)>> {
        let mut mail = self.0.lock();
        if mail.answers.is_empty() {
            match &mut mail.waker {
                Some(old) => old.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut mail.answers))
    }
}

/// The session's end of the mailbox, and what numbers its tickets. Dropped with the session, it
/// says so to those who still work on answers.
pub(crate) struct Desk<P> {
    /// The number by which its driver names the connection.
    pub(crate) conn: u64,
    /// What is known of the client. Most have nothing, and take no room for it.
    client: Option<Box<Client>>,
    next_ticket: u32,
    mailbox: Option<Arc<Mailbox<P>>>,
}

/// What is known of a client besides its number.
#[derive(Default)]
struct Client {
    user: Option<Box<[u8]>>,
    kept: Option<Box<dyn Any + Send>>,
}

impl<P> Desk<P> {
    pub(crate) const fn new() -> Self {
        Self { conn: 0, client: None, next_ticket: 0, mailbox: None }
    }

    pub(crate) const fn next_ticket(&mut self) -> u32 {
        let ticket = self.next_ticket;
        self.next_ticket = ticket.wrapping_add(1);
        ticket
    }

    /// Who has logged in.
    pub(crate) const fn user(&self) -> Option<&[u8]> {
        match &self.client {
            Some(client) => match &client.user {
                Some(user) => Some(user),
                None => None,
            },
            None => None,
        }
    }

    pub(crate) fn log_in(&mut self, user: &[u8]) {
        self.client.get_or_insert_default().user = Some(user.into());
    }

    pub(crate) fn log_out(&mut self) {
        if let Some(client) = &mut self.client {
            client.user = None;
        }
    }

    /// What the handler keeps of the connection.
    pub(crate) fn kept(&mut self) -> &mut Option<Box<dyn Any + Send>> {
        &mut self.client.get_or_insert_default().kept
    }

    /// The ticket that was given out last.
    pub(crate) const fn last_ticket(&self) -> u32 {
        self.next_ticket.wrapping_sub(1)
    }

    pub(crate) fn open_mailbox(&mut self) -> Arc<Mailbox<P>> {
        Arc::clone(self.mailbox.get_or_insert_with(|| Arc::new(Mailbox::new())))
    }

    pub(crate) const fn mailbox(&self) -> Option<&Arc<Mailbox<P>>> {
        self.mailbox.as_ref()
    }
}

impl<P> Drop for Desk<P> {
    fn drop(&mut self) {
        if let Some(mailbox) = self.mailbox.take() {
            let mut mail = mailbox.0.lock();
            mail.is_closed = true;
            mail.waker = None;
            let unread = std::mem::take(&mut mail.answers);
            drop(mail);
            drop(unread);
        }
    }
}
