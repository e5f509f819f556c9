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
//! on one connection, and from one [address](Source) over all its connections
//! ([`failures`] has the figures). Waiting takes no thread, and addresses take turns, so that nobody
//! waits for somebody else's failures. memcached lets everybody try as fast as they can.

mod failures;
mod pool;

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use nuthatch_transport::Peer;

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

/// Where attempts come from, as far as they count together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Source {
    /// This machine, by a Unix socket.
    Local,
    V4(Ipv4Addr),
    /// The first half of an address: whoever has one address mostly has all that begin so.
    V6(u64),
}

impl Source {
    /// Where a client is; `None` is not known.
    pub(crate) fn of(peer: Option<&Peer>) -> Self {
        match peer {
            Some(Peer::Tcp(at)) => match at.ip().to_canonical() {
                IpAddr::V4(at) => Self::V4(at),
                IpAddr::V6(at) => Self::V6((at.to_bits() >> 64) as u64),
            },
            _ => Self::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_one_client_has() {
        let of = |text: &str| Source::of(Some(&Peer::Tcp(text.parse().unwrap())));
        assert_eq!(of("10.0.0.1:5"), of("10.0.0.1:6"));
        assert_eq!(of("10.0.0.1:5"), of("[::ffff:10.0.0.1]:6"));
        assert_ne!(of("10.0.0.1:5"), of("10.0.0.2:5"));
        assert_eq!(of("[2001:db8:1:2::1]:5"), of("[2001:db8:1:2:3:4:5:6]:5"));
        assert_ne!(of("[2001:db8:1:2::1]:5"), of("[2001:db8:1:3::1]:5"));
        assert_eq!(Source::of(Some(&Peer::Unix)), Source::of(None));
    }
}
