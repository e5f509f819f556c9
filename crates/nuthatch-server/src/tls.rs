//! The server's part in TLS: who must, how long a handshake may take, what is counted.
//!
//! Each handshake is a task of its own on the worker that will serve the connection, so that all
//! workers share the work and a client that says nothing holds up nobody. (memcached begins them all
//! in the one thread that accepts.)

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use nuthatch_proto::Handler;
use nuthatch_transport::tls::{ClientAuth, ServerTls};
use nuthatch_transport::{Bound, ListenTls, Local, Stream};

use crate::connection::{Connection, Worker};
use crate::conns::Entry;
use crate::options::Protocol;
use crate::server::Present;

/// How long a client may keep the server waiting for its handshake; less where it may not be silent
/// for as long, and where many do.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How connections of a listener are to be served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// What may be spoken.
    pub(crate) protocol: Protocol,
    /// Whom TLS asks for a certificate; `None` is no TLS.
    pub(crate) tls: Option<ClientAuth>,
}

/// Certificates, and who must show one where a listener does not say it.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    pub(crate) tls: ServerTls,
    pub(crate) auth: ClientAuth,
}

impl Security {
    /// Whom TLS asks for a certificate at a listener; `None` is no TLS.
    pub(crate) fn at(&self, bound: &Bound) -> Option<ClientAuth> {
        match (bound.local(), bound.tls()) {
            (Local::Unix(_), _) | (_, Some(ListenTls::Off)) => None,
            (_, Some(ListenTls::Basic)) => Some(ClientAuth::None),
            (_, Some(ListenTls::Mutual)) => Some(ClientAuth::Require),
            _ => Some(self.auth),
        }
    }
}

/// A connection before it is served: shakes hands, then begins.
pub(crate) async fn begin<H: Handler + 'static>(
    stream: Stream,
    entry: Entry,
    terms: Terms,
    worker: Rc<Worker<H>>,
    present: Present,
) {
    let (Some(security), Some(auth)) = (&worker.settings.security, terms.tls) else { return };
    let limit = worker.settings.idle_timeout.map_or(HANDSHAKE_MAX, |idle| idle.min(HANDSHAKE_MAX));
    let shaken = security.tls.accept_within(stream, auth, limit).await;
    let telemetry = &worker.telemetry;
    let refuse = |reason: &dyn std::fmt::Display| {
        telemetry.ssl_handshake_errors.fetch_add(1, Relaxed);
        tracing::debug!("TLS handshake: {reason}");
        if let Some(observer) = &worker.settings.observer {
            observer.conn_tls_error(entry.conn(), reason);
        }
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => return refuse(&error),
    };
    if stream.tls().is_some_and(|tls| !tls.is_resumed()) {
        telemetry.ssl_new_sessions.fetch_add(1, Relaxed);
    }
    let connection = Connection::new(stream, entry, terms.protocol, Rc::clone(&worker), present);
    // A task of its own, so that it is no larger than one without TLS.
    tokio::task::spawn_local(connection);
}
