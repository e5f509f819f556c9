//! Being a member by one's own doing.

use std::{fmt, time::Duration};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// A member that is to be, with everything read that it needs.
#[must_use]
pub struct Joining(Box<dyn FnOnce() -> Registration + Send>);

impl Joining {
    #[cfg(feature = "etcd")]
    pub(crate) fn new(begin: impl FnOnce() -> Registration + Send + 'static) -> Self {
        Self(Box::new(begin))
    }

    /// Joins, and stays, on the tokio runtime it is called on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn begin(self) -> Registration {
        (self.0)()
    }
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joining").finish()
    }
}

/// A member's place in a list that members keep themselves, for as long as this is there. Dropped
/// without [`leave`](Self::leave), the place is lost when its lease ends.
#[derive(Debug)]
pub struct Registration {
    state: watch::Receiver<Result<(), String>>,
    leave: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Registration {
    #[cfg(feature = "etcd")]
    pub(crate) fn new(
        state: watch::Receiver<Result<(), String>>,
        leave: oneshot::Sender<()>,
        task: JoinHandle<()>,
    ) -> Self {
        Self { state, leave: Some(leave), task }
    }

    /// Whether the place is held, and if not, why; to be watched.
    pub fn state(&self) -> watch::Receiver<Result<(), String>> {
        self.state.clone()
    }

    /// Gives the place up, so that all hear of it at once. What cannot be said within `patience`
    /// is left to the end of the lease.
    pub async fn leave(mut self, patience: Duration) {
        if let Some(leave) = self.leave.take() {
            // It may have ended.
            let _ = leave.send(());
        }
        let _ = tokio::time::timeout(patience, &mut self.task).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.task.abort();
    }
}
