//! The signal to stop: whoever has a clone can give it, whoever has a clone can wait for it.

use std::sync::Arc;

use tokio::sync::watch;

/// Stops a server.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Gives the signal; giving it again does nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits for the signal. Cancel safe: it stays given.
    pub async fn stopped(&self) {
        // An error would mean that the sender is gone, and this is the sender.
        let _ = self.0.subscribe().wait_for(|is_stopped| *is_stopped).await;
    }
}
