//! `-o ssl_watch_certs`: a thread that looks at the files of the certificates every second and has
//! them read again when they have changed.
//!
//! It is a thread of its own because a disk may let it wait, and no connection should.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use nuthatch_transport::tls::ServerTls;

use crate::Telemetry;

/// How often the files are looked at, and for how long none of them may have changed before all are
/// read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The thread; ends when this is dropped.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct CertWatcher {
    /// Nothing is ever sent: the thread hears that this is gone.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl CertWatcher {
    /// Starts it. What has been read is counted ([`Telemetry::certs_refreshed`]) and logged; what is
    /// refused is told on standard error, once.
    ///
    /// # Errors
    ///
    /// What the system said when it gave no thread.
    pub fn spawn(tls: &ServerTls, telemetry: Arc<Telemetry>) -> io::Result<Self> {
        let mut watch = tls.watch();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("nuthatch-certs".to_owned()).spawn(move || {
            while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                match watch.look() {
                    None => {}
                    Some(Ok(())) => {
                        telemetry.certs_refreshed();
                        tracing::info!("the certificates have changed: read again");
                    }
                    Some(Err(error)) => eprintln!(
                        "Could not reload TLS certificates that have changed: {error}; they stay as \
                         they were"
                    ),
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for CertWatcher {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
