//! What can be chosen: protocol, failure policy, retries, ejection.

use std::time::Duration;

/// What is spoken with the servers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Protocol {
    /// What the server knows, found out when the connection is made: the meta commands, else
    /// classic text, also with a proxy that hangs up on meta commands; the binary protocol with a
    /// server that hangs up on text, as those do that log clients in by SASL.
    #[default]
    Auto,
    /// The meta commands of memcached 1.6, and classic text for what they do not have.
    Meta,
    /// Classic text alone.
    Text,
    /// Binary.
    Binary,
}

/// What becomes of a key whose node fails.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnFailure {
    /// The call fails. No key is ever looked for on two nodes, so that nothing old is read.
    #[default]
    Fail,
    /// While a node is [ejected](Ejection) its keys are on the nodes that come next for them, of
    /// which up to `max` are tried. **When it comes back it has what it had**: items that were
    /// changed meanwhile are the old ones again there, unless it was restarted and is empty.
    NextInRing {
        /// How many nodes besides the key's own, at most.
        max: usize,
    },
    /// The call says that there is no item: reads miss, `set` and the like answer `NotStored`,
    /// `delete` `NotFound`. Who has no other use for a failure than to go without the cache needs
    /// no code for it then. [`Client::status`](crate::Client::status) and metrics still tell.
    TreatAsMiss,
}

/// When a node is left out, and how it comes back.
///
/// ```text
///             failures in a row                  a new connection is answered
///   in use ─────────────────────────> ejected ────────────────────────────────> in use
///                                      │  ^          after a random part of
///                                      └──┘          `return_within`
///                                  tried again, in growing intervals
/// ```
///
/// A failure is a connection that cannot be made, or that ends. While a node is ejected no call is
/// sent to try it out: its connections are made anew in the background, and one that the server
/// answers on brings it back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Ejection {
    /// After so many failures in a row; 2 without this, at least 1.
    pub failures: u32,
    /// After so many calls in a row that were not answered in time the connection is given up and
    /// the node ejected; 5 without this. A server that is merely slow has answered one of them.
    /// Calls with [less time than usual](crate::Client::with_timeout) count only once nothing has
    /// been answered for the usual time, or for a second if that is less.
    pub timeouts: u32,
    /// The first pause between attempts to connect, 50 ms without this. It doubles with each.
    pub pause_min: Duration,
    /// The longest pause, 5 s without this. Each is made longer by a random part of itself, so that
    /// a server that comes back is not overrun.
    pub pause_max: Duration,
    /// A node that is there again gets its keys within this time, 500 ms without this, each client
    /// at its own moment.
    pub return_within: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 2,
            timeouts: 5,
            pause_min: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
            return_within: Duration::from_millis(500),
        }
    }
}

/// Whether calls are tried again, within their time limit.
///
/// Only what is surely safe is: calls that were not sent, and reads. A change that may have been
/// made is never made twice.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// How often at most; 2 without this. 0 is never.
    pub max: u32,
    /// The pause before the first, 5 ms without this; it doubles with each, and a random part of it
    /// is added.
    pub pause: Duration,
    /// How many retries there may be for each call, on the average: 0.1 without this. When all
    /// calls fail the servers get a tenth more of them, and not three times as many.
    pub budget: f32,
}

impl Retry {
    /// None.
    pub const NEVER: Self = Self { max: 0, pause: Duration::ZERO, budget: 0.0 };
}

impl Default for Retry {
    fn default() -> Self {
        Self { max: 2, pause: Duration::from_millis(5), budget: 0.1 }
    }
}
