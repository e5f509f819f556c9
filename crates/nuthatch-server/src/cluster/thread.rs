//! The thread that follows the source of members, so that no worker waits for it; and that keeps
//! this server among them, where members do so themselves.

use std::{
    fmt, io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use nuthatch_discovery::{Joining, Limits, Registration, Source, follow};
use tokio::sync::Notify;

use super::Cluster;

/// How long leaving may take. What cannot be said by then is known when the lease ends.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Follows a source until it is dropped.
pub struct ClusterThread {
    stop: Arc<Notify>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Cluster {
    /// From now on the list of members is what a source says, and no client changes it. Until the
    /// source has answered there is none. With `joining` this server becomes a member.
    ///
    /// # Errors
    ///
    /// What the system said to a new thread.
    pub fn spawn_following(
        &self,
        source: Box<dyn Source>,
        limits: Limits,
        joining: Option<Joining>,
    ) -> io::Result<ClusterThread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let cluster = self.clone();
        let (told, telling) = mpsc::channel();
        let thread = thread::Builder::new().name("nh-cluster".to_owned()).spawn(move || {
            runtime.block_on(cluster.follow(source, limits, joining, &told, &stopped));
            // A name that is still being looked up is looked up for nobody.
            runtime.shutdown_timeout(Duration::ZERO);
        })?;
        // Who starts a server with a source starts it with the name taken. An error would mean that
        // the thread is gone.
        let _ = telling.recv();
        Ok(ClusterThread { stop, thread: Some(thread) })
    }

    async fn follow(
        &self,
        source: Box<dyn Source>,
        limits: Limits,
        joining: Option<Joining>,
        told: &mpsc::Sender<()>,
        stopped: &Notify,
    ) {
        let what = source.describe();
        let following = follow(source, limits);
        let mut views = following.watch();
        let view = views.borrow_and_update().clone();
        self.set_source(what, view);
        // Nobody else waits for it.
        let _ = told.send(());
        let registration = joining.map(Joining::begin);
        let taking = async {
            while views.changed().await.is_ok() {
                let view = views.borrow_and_update().clone();
                self.take(view);
            }
        };
        let noting = async {
            match &registration {
                Some(registration) => self.note_joined(registration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = taking => {}
            () = noting => {}
            () = stopped.notified() => {}
        }
        if let Some(registration) = registration {
            registration.leave(LEAVE_WITHIN).await;
        }
    }

    async fn note_joined(&self, registration: &Registration) {
        let mut states = registration.state();
        loop {
            let state = states.borrow_and_update().clone();
            self.set_joined(state);
            if states.changed().await.is_err() {
                // It has panicked, which has been logged. The list is followed all the same.
                self.set_joined(Err("is registered in no more, after a bug".to_owned()));
                return std::future::pending().await;
            }
        }
    }
}

impl ClusterThread {
    /// Leaves the list, where this server is in it by its own doing, and follows no more; returns at
    /// once. Dropping does the same, and waits until it is done, two seconds at most.
    pub fn leave(&self) {
        self.stop.notify_one();
    }
}

impl Drop for ClusterThread {
    fn drop(&mut self) {
        self.leave();
        if let Some(thread) = self.thread.take() {
            // It has been logged if it panicked.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for ClusterThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterThread").finish_non_exhaustive()
    }
}
