//! The signal to stop: whoever has a clone can give it, whoever has a clone can wait for it.

use std::sync::Arc;

use tokio::sync::watch;

/// How a server ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// At once (SIGINT, SIGTERM, `shutdown`).
    AtOnce,
    /// Having put away what a next start can use (SIGUSR1, `shutdown graceful`).
    Graceful,
}

/// Stops a server.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<Option<End>>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Gives the signal; the first one decides how the server ends.
    pub fn stop(&self, end: End) {
        self.0.send_if_modified(|given| {
            let is_first = given.is_none();
            given.get_or_insert(end);
            is_first
        });
    }

    /// How the server ends, if the signal has been given.
    pub fn end(&self) -> Option<End> {
        *self.0.borrow()
    }

    /// Waits for the signal. Cancel safe: it stays given.
    pub async fn stopped(&self) {
        // An error would mean that the sender is gone, and this is the sender.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}
