//! Who is connected, for `stats conns` and for whoever wants to hear of connections.
//!
//! ```text
//!   worker ── opens, closes ──► table ◄── asks ── any thread
//!     │                           │ Arc
//!     └── state, last command ──► Conn
//! ```
//!
//! The table is locked when a connection comes or goes and when somebody asks, never for a
//! request. What changes with requests is in the connection's own [`Conn`], which its worker
//! writes without waiting for anybody and others read as it is at the moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use nuthatch_transport::{Local, Peer};
use parking_lot::Mutex;

use crate::Telemetry;

/// Hears of connections as they come and go; given to
/// [`ServerBuilder::observer`](crate::ServerBuilder::observer). It is called on the connection's
/// worker and holds up the other connections there.
pub trait ConnObserver: fmt::Debug + Send + Sync {
    /// A client has connected and is served.
    fn conn_new(&self, conn: &Conn);

    /// A connection that was told of as new has ended.
    fn conn_close(&self, conn: &Conn, reason: CloseReason);

    /// TLS with a client has failed. Before a connection is told of as new that is its end: nothing
    /// was served; after that it ends next. Nobody need listen to this.
    fn conn_tls_error(&self, conn: &Conn, reason: &dyn fmt::Display) {
        let _ = (conn, reason);
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client sent what cannot be made out, the socket failed, or answering did.
    Error,
    /// The client said so or closed it.
    Normal,
    /// The client was silent for too long.
    IdleTimeout,
    /// The server ends.
    Shutdown,
}

impl CloseReason {
    /// memcached's word, as its log of connections has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Normal => "normal",
            Self::IdleTimeout => "idle_timeout",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What a socket is doing, in memcached's words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
#[repr(u8)]
pub enum ConnState {
    /// Accepts connections.
    Listening,
    /// Waits for its turn.
    NewCmd,
    /// Waits for a command, or the rest of one.
    Read,
    /// Is being served this moment.
    ParseCmd,
    /// Waits for the rest of a value.
    Nread,
    /// Waits for the rest of a value that was refused.
    Swallow,
    /// Waits for the client to take answers.
    Mwrite,
    /// Belongs to a watcher or a dump.
    Watch,
    /// Waits for an answer that is being found elsewhere.
    IoPending,
}

impl ConnState {
    const ALL: [Self; 9] = [
        Self::Listening,
        Self::NewCmd,
        Self::Read,
        Self::ParseCmd,
        Self::Nread,
        Self::Swallow,
        Self::Mwrite,
        Self::Watch,
        Self::IoPending,
    ];

    /// memcached's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listening => "conn_listening",
            Self::NewCmd => "conn_new_cmd",
            Self::Read => "conn_read",
            Self::ParseCmd => "conn_parse_cmd",
            Self::Nread => "conn_nread",
            Self::Swallow => "conn_swallow",
            Self::Mwrite => "conn_mwrite",
            Self::Watch => "conn_watch",
            Self::IoPending => "conn_io_pending",
        }
    }
}

/// A socket of a server: a listener, a UDP socket, or a client's connection.
#[derive(Debug)]
pub struct Conn {
    number: u64,
    peer: Option<Peer>,
    local: Arc<Local>,
    tag: Option<Arc<str>>,
    state: AtomicU8,
    /// Answers that somebody has still to find.
    n_owed: AtomicU32,
    /// When the last command was answered, by the telemetry's seconds.
    last_cmd: AtomicU32,
    /// Who has logged in.
    user: Mutex<Option<Box<[u8]>>>,
}

impl Conn {
    /// The number by which logs, statistics and handlers name it: that of its descriptor.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who is at the other end; `None` where it is nobody in particular, as of a listener.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Where it stands on this machine.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The tag of its listener.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// What it is doing.
    pub fn state(&self) -> ConnState {
        let state = usize::from(self.state.load(Relaxed));
        ConnState::ALL.get(state).copied().unwrap_or(ConnState::NewCmd)
    }

    /// How many answers somebody has still to find.
    pub fn n_owed(&self) -> u32 {
        self.n_owed.load(Relaxed)
    }

    /// How long ago the last command was answered, in seconds, since the connection where there
    /// was none. `telemetry` is that of the same server.
    pub fn secs_since_last_cmd(&self, telemetry: &Telemetry) -> u32 {
        telemetry.seconds.load(Relaxed).saturating_sub(self.last_cmd.load(Relaxed))
    }

    /// Who has logged in, if somebody has: what is right to show, not what may be relied on, as it
    /// may have changed meanwhile.
    pub fn user(&self) -> Option<Box<[u8]>> {
        self.user.lock().clone()
    }

    pub(crate) fn set_user(&self, user: Option<&[u8]>) {
        let mut shown = self.user.lock();
        if shown.as_deref() != user {
            *shown = user.map(Into::into);
        }
    }

    pub(crate) fn set_state(&self, state: ConnState) {
        self.state.store(state as u8, Relaxed);
    }

    pub(crate) fn set_owed(&self, n: usize) {
        self.n_owed.store(u32::try_from(n).unwrap_or(u32::MAX), Relaxed);
    }

    pub(crate) fn set_last_cmd(&self, telemetry: &Telemetry) {
        self.last_cmd.store(telemetry.seconds.load(Relaxed), Relaxed);
    }
}

/// The sockets of a server, by number.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<u64, Arc<Conn>>>);

impl Table {
    pub(crate) fn all(&self) -> Vec<Arc<Conn>> {
        self.0.lock().values().cloned().collect()
    }

    pub(crate) fn one(&self, number: u64) -> Option<Arc<Conn>> {
        self.0.lock().get(&number).cloned()
    }
}

/// A place in the table, left when dropped: before the descriptor is closed, whose number the next
/// connection may get.
#[derive(Debug)]
pub(crate) struct Entry {
    conn: Arc<Conn>,
    telemetry: Arc<Telemetry>,
}

impl Entry {
    pub(crate) fn new(
        telemetry: &Arc<Telemetry>,
        number: u64,
        peer: Option<Peer>,
        local: Arc<Local>,
        tag: Option<Arc<str>>,
    ) -> Self {
        let state = match (&*local, peer) {
            (Local::Udp(_), _) => ConnState::Read,
            (_, Some(_)) => ConnState::NewCmd,
            (_, None) => ConnState::Listening,
        };
        let conn = Arc::new(Conn {
            number,
            peer,
            local,
            tag,
            state: AtomicU8::new(state as u8),
            n_owed: AtomicU32::new(0),
            last_cmd: AtomicU32::new(telemetry.seconds.load(Relaxed)),
            user: Mutex::default(),
        });
        telemetry.table.0.lock().insert(number, Arc::clone(&conn));
        Self { conn, telemetry: Arc::clone(telemetry) }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut table = self.telemetry.table.0.lock();
        // A handshake that fails closes the descriptor itself: the next connection may have the
        // number already.
        if table.get(&self.conn.number).is_some_and(|conn| Arc::ptr_eq(conn, &self.conn)) {
            table.remove(&self.conn.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_they_were_set() {
        let telemetry = Arc::new(Telemetry::new(1, 1, 0));
        let local = Arc::new(Local::Unix("/x".into()));
        let entry = Entry::new(&telemetry, 7, Some(Peer::Unix), local, None);
        assert_eq!(entry.conn().state(), ConnState::NewCmd);
        for state in ConnState::ALL {
            entry.conn().set_state(state);
            assert_eq!(entry.conn().state(), state);
            assert!(state.as_str().starts_with("conn_"));
        }
        assert_eq!(telemetry.conns().len(), 1);
        drop(entry);
        assert_eq!(telemetry.conns().len(), 0);
    }

    #[test]
    fn who_leaves_late_leaves_the_next_one_in_its_place() {
        let telemetry = Arc::new(Telemetry::new(1, 1, 0));
        let local = Arc::new(Local::Unix("/x".into()));
        let enter = |peer| Entry::new(&telemetry, 7, Some(peer), Arc::clone(&local), None);
        let first = enter(Peer::Unix);
        let second = enter(Peer::Tcp("192.0.2.1:5".parse().unwrap()));
        drop(first);
        let left = telemetry.conn(7).and_then(|conn| conn.peer().copied());
        assert_eq!(left, Some(Peer::Tcp("192.0.2.1:5".parse().unwrap())));
        drop(second);
        assert!(telemetry.conn(7).is_none());
    }
}
