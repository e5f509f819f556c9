//! Logins as work: where passwords are checked, and what guessing costs.
//!
//! ```text
//!   worker ── try_later(attempt) ──► queue, in turn by address ──► login threads
//!      ▲                                        │ too many failures ▲
//!      │                                        └──► held ──────────┘ when its time has come
//!      └────────── the answer, as any that comes late ◄── Right, Wrong
//! ```
//!
//! To check a login may mean to read a file and to hash a password: milliseconds that a worker's
//! other connections would wait. So that is done by [threads](pool) of its own, and the connection
//! waits alone, with all that its client has sent behind the login.
//!
//! **Guessing.** Who fails too often waits before the next attempt is looked at, right or wrong:
//! on one connection, and from one [address](nuthatch_transport::Origin) over all its connections
//! ([`failures`] has the figures). Waiting takes no thread, and addresses take turns, so that nobody
//! waits for somebody else's failures. memcached lets everybody try as fast as they can.

mod failures;
mod pool;

use std::time::SystemTime;

pub(crate) use pool::Pool;

/// A login that is to be checked.
pub(crate) trait Attempt: Send {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Checks it, as long as that takes, and answers. A part of a login that only prepares the next
    /// one is [`Tried::Unknown`].
    fn check(self: Box<Self>, now: SystemTime) -> Tried;

    /// Answers that there are too many at a time.
    fn refuse(self: Box<Self>);
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tried {
    /// Not wrong, so far.
    Unknown,
    /// The password or the user is wrong.
    Wrong,
}
