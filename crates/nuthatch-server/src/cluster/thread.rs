//! The thread that follows the source of members, so that no worker waits for it.

use std::{io, thread, time::Duration};

use nuthatch_discovery::{Limits, Source, follow};
use tokio::sync::oneshot;

use super::Cluster;

/// Follows a source until it is dropped.
#[derive(Debug)]
pub struct ClusterThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Cluster {
    /// From now on the list of members is what a source says, and no client changes it. Until the
    /// source has answered there is none.
    ///
    /// # Errors
    ///
    /// What the system said to a new thread.
    pub fn spawn_following(
        &self,
        source: Box<dyn Source>,
        limits: Limits,
    ) -> io::Result<ClusterThread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let cluster = self.clone();
        let what = source.describe();
        let (told, telling) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name("nh-cluster".to_owned()).spawn(move || {
            runtime.block_on(async {
                let following = follow(source, limits);
                let mut views = following.watch();
                let view = views.borrow_and_update().clone();
                cluster.set_source(what, view);
                let _ = told.send(());
                let taking = async {
                    while views.changed().await.is_ok() {
                        let view = views.borrow_and_update().clone();
                        cluster.take(view);
                    }
                };
                tokio::select! {
                    () = taking => {}
                    _ = stopped => {}
                }
            });
            // What still looks names up does so without us.
            runtime.shutdown_timeout(Duration::ZERO);
        })?;
        // Who starts a server with a source starts it with the name taken.
        let _ = telling.recv();
        Ok(ClusterThread { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ClusterThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
