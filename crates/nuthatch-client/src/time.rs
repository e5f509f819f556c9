//! How long calls may take.

use std::time::Duration;

use tokio::time::Instant;

/// The time limit of a handle's calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeLimit {
    /// What [`Builder::timeout`](crate::Builder::timeout) says.
    Usual,
    /// From its beginning, each.
    Each(Duration),
    /// All until a moment.
    Until(Instant),
}

/// When a call is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    /// Whether it may leave less time than is usual, so that having no answer by then says little
    /// about the server.
    pub(crate) is_short: bool,
}

impl TimeLimit {
    /// When a call that begins now is to end.
    pub(crate) fn deadline(self, usual: Duration) -> Deadline {
        match self {
            Self::Usual => Deadline::after(usual),
            Self::Each(timeout) => {
                Deadline { is_short: timeout < usual, ..Deadline::after(timeout) }
            }
            Self::Until(at) => Deadline { at, is_short: true },
        }
    }
}

impl Deadline {
    /// One that gives a call its time.
    pub(crate) fn after(timeout: Duration) -> Self {
        let now = Instant::now();
        let at = now.checked_add(timeout).unwrap_or_else(|| now + FAR);
        Self { at, is_short: false }
    }

    /// Whether it is too late to begin.
    pub(crate) fn is_over(self) -> bool {
        // Others have only begun.
        self.is_short && self.at <= Instant::now()
    }
}

/// For those who want no time limit.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
