//! What workers count: connections, bytes, buffers. Each worker writes its own cells; whoever
//! prints statistics reads them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::conns::{Conn, Table};

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    /// Adds; only the owning thread calls this.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts; only the owning thread calls this.
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's figures, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerTally {
    pub(crate) bytes_read: Tally,
    pub(crate) bytes_written: Tally,
    /// Turns that ended with input left because the budget was used up.
    pub(crate) conn_yields: Tally,
    /// Connections closed for being silent too long.
    pub(crate) idle_kicks: Tally,
    /// Connections closed because their handler panicked.
    pub(crate) panics: Tally,
    /// Pairs of buffers that exist, and that are in the worker's pool.
    pub(crate) buffers: Tally,
    pub(crate) buffers_free: Tally,
    /// Requests that met the limit on memory: for answers, and for input.
    pub(crate) answer_ooms: Tally,
    pub(crate) buffer_ooms: Tally,
}

/// What a server counts about its connections; shared between it and whoever prints it.
#[derive(Debug)]
pub struct Telemetry {
    pub(crate) workers: Box<[WorkerTally]>,
    pub(crate) curr_connections: AtomicU64,
    pub(crate) total_connections: AtomicU64,
    pub(crate) rejected_connections: AtomicU64,
    pub(crate) listen_disabled_num: AtomicU64,
    pub(crate) listen_disabled_us: AtomicU64,
    /// Clients with whom TLS failed before anything was served, and after that.
    pub(crate) ssl_handshake_errors: AtomicU64,
    pub(crate) ssl_proto_errors: AtomicU64,
    /// Sessions of TLS that did not go on from an earlier one.
    pub(crate) ssl_new_sessions: AtomicU64,
    /// When certificates were last read, in `seconds`.
    certs_refreshed: AtomicU32,
    /// 0 while accepting is suspended.
    pub(crate) accepting: AtomicU64,
    pub(crate) max_connections: u64,
    /// UDP sockets, which count as connections that are always there.
    pub(crate) udp_sockets: u64,
    /// Seconds since the server began, counted by its main thread.
    pub(crate) seconds: AtomicU32,
    /// Connections that came by a queue of the network card that no worker had left (`-N`), and
    /// those that came by none that is known.
    pub(crate) unexpected_napi_ids: AtomicU64,
    pub(crate) round_robin_fallback: AtomicU64,
    /// Its sockets.
    pub(crate) table: Table,
    /// What had been counted at the last `stats reset`.
    baseline: parking_lot::Mutex<ServerStats>,
}

/// A server's figures; the names are those of `stats`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Worker threads.
    pub threads: u64,
    /// The limit on connections.
    pub max_connections: u64,
    /// Connections open now, UDP sockets among them.
    pub curr_connections: u64,
    /// Connections ever accepted, UDP sockets among them.
    pub total_connections: u64,
    /// Connections closed at once because there were too many.
    pub rejected_connections: u64,
    /// Whether connections are being accepted at the moment.
    pub accepting_conns: bool,
    /// Times that accepting was suspended because there were too many connections.
    pub listen_disabled_num: u64,
    /// How long accepting was suspended, in microseconds.
    pub time_in_listen_disabled_us: u64,
    /// Clients with whom no TLS session came about, because they or their certificates were not
    /// what they must be, or took too long.
    pub ssl_handshake_errors: u64,
    /// TLS sessions that ended because what came was not TLS.
    pub ssl_proto_errors: u64,
    /// TLS sessions that did not go on from an earlier one.
    pub ssl_new_sessions: u64,
    /// How long ago the server's certificates were read, in seconds.
    pub time_since_server_cert_refresh: u32,
    /// Bytes read from clients.
    pub bytes_read: u64,
    /// Bytes sent to clients.
    pub bytes_written: u64,
    /// Turns that ended with input left because the budget was used up.
    pub conn_yields: u64,
    /// Connections closed for being silent too long.
    pub idle_kicks: u64,
    /// Connections closed because answering them panicked, which is always a bug.
    pub panics: u64,
    /// Pairs of buffers that exist.
    pub buffers: u64,
    /// Pairs of buffers not in use.
    pub buffers_free: u64,
    /// Requests whose answers met the limit on memory.
    pub response_obj_oom: u64,
    /// Connections closed because the limit on memory left them no buffer to read into.
    pub read_buf_oom: u64,
    /// Times that connections came by more queues of the network card than had been announced.
    pub unexpected_napi_ids: u64,
    /// Connections that were dealt out in turn because their queue was not known.
    pub round_robin_fallback: u64,
}

impl Telemetry {
    pub(crate) fn new(threads: usize, max_connections: u64, udp_sockets: u64) -> Self {
        Self {
            workers: (0..threads).map(|_| WorkerTally::default()).collect(),
            curr_connections: AtomicU64::new(0),
            total_connections: AtomicU64::new(0),
            rejected_connections: AtomicU64::new(0),
            listen_disabled_num: AtomicU64::new(0),
            listen_disabled_us: AtomicU64::new(0),
            ssl_handshake_errors: AtomicU64::new(0),
            ssl_proto_errors: AtomicU64::new(0),
            ssl_new_sessions: AtomicU64::new(0),
            certs_refreshed: AtomicU32::new(0),
            accepting: AtomicU64::new(1),
            max_connections,
            udp_sockets,
            seconds: AtomicU32::new(0),
            unexpected_napi_ids: AtomicU64::new(0),
            round_robin_fallback: AtomicU64::new(0),
            table: Table::default(),
            baseline: parking_lot::Mutex::default(),
        }
    }

    fn raw(&self) -> ServerStats {
        let sum = |of: fn(&WorkerTally) -> &Tally| {
            self.workers.iter().map(|worker| of(worker).get()).fold(0, u64::wrapping_add)
        };
        ServerStats {
            threads: self.workers.len() as u64,
            max_connections: self.max_connections,
            curr_connections: self.curr_connections.load(Relaxed) + self.udp_sockets,
            total_connections: self.total_connections.load(Relaxed) + self.udp_sockets,
            rejected_connections: self.rejected_connections.load(Relaxed),
            accepting_conns: self.accepting.load(Relaxed) != 0,
            listen_disabled_num: self.listen_disabled_num.load(Relaxed),
            time_in_listen_disabled_us: self.listen_disabled_us.load(Relaxed),
            ssl_handshake_errors: self.ssl_handshake_errors.load(Relaxed),
            ssl_proto_errors: self.ssl_proto_errors.load(Relaxed),
            ssl_new_sessions: self.ssl_new_sessions.load(Relaxed),
            time_since_server_cert_refresh: self
                .seconds
                .load(Relaxed)
                .saturating_sub(self.certs_refreshed.load(Relaxed)),
            bytes_read: sum(|worker| &worker.bytes_read),
            bytes_written: sum(|worker| &worker.bytes_written),
            conn_yields: sum(|worker| &worker.conn_yields),
            idle_kicks: sum(|worker| &worker.idle_kicks),
            panics: sum(|worker| &worker.panics),
            buffers: sum(|worker| &worker.buffers),
            buffers_free: sum(|worker| &worker.buffers_free),
            response_obj_oom: sum(|worker| &worker.answer_ooms),
            read_buf_oom: sum(|worker| &worker.buffer_ooms),
            unexpected_napi_ids: self.unexpected_napi_ids.load(Relaxed),
            round_robin_fallback: self.round_robin_fallback.load(Relaxed),
        }
    }

    /// The figures since the start or the last [`reset`](Self::reset).
    pub fn stats(&self) -> ServerStats {
        let base = *self.baseline.lock();
        let mut now = self.raw();
        now.total_connections -= base.total_connections;
        now.rejected_connections -= base.rejected_connections;
        now.listen_disabled_num -= base.listen_disabled_num;
        now.time_in_listen_disabled_us -= base.time_in_listen_disabled_us;
        now.ssl_handshake_errors -= base.ssl_handshake_errors;
        now.ssl_proto_errors -= base.ssl_proto_errors;
        now.ssl_new_sessions -= base.ssl_new_sessions;
        now.bytes_read -= base.bytes_read;
        now.bytes_written -= base.bytes_written;
        now.conn_yields -= base.conn_yields;
        now.idle_kicks -= base.idle_kicks;
        now.response_obj_oom -= base.response_obj_oom;
        now.read_buf_oom -= base.read_buf_oom;
        now.unexpected_napi_ids -= base.unexpected_napi_ids;
        now.round_robin_fallback -= base.round_robin_fallback;
        now
    }

    /// The server's sockets by their numbers: listeners, UDP sockets and clients.
    pub fn conns(&self) -> Vec<Arc<Conn>> {
        self.table.all()
    }

    /// The socket with this number.
    pub fn conn(&self, number: u64) -> Option<Arc<Conn>> {
        self.table.one(number)
    }

    /// Notes that the server's certificates have been read again.
    pub fn certs_refreshed(&self) {
        self.certs_refreshed.store(self.seconds.load(Relaxed), Relaxed);
    }

    /// Sets to 0 what `stats reset` sets to 0 in memcached.
    pub fn reset(&self) {
        *self.baseline.lock() = self.raw();
    }
}
