//! memcached's logger: what `watch` shows.
//!
//! ```text
//!  worker, maintenance, …             nuthatch-log                     a connection that watches
//!    note ──► ring of that thread ──► lines, in the order of gid ──► ring of each watcher ──► Feed
//!             (full: dropped)                                        (full: skipped=N)
//! ```
//!
//! Whoever meets an event looks at the [`Gate`] first, one load of a word that changes only when
//! somebody begins or ends to watch. Then it copies the bare facts into its thread's ring, under a
//! lock that nobody else but the writing thread takes, and goes on: events are noted under locks of
//! the store, so noting waits for nothing and never fails. The writing thread makes lines of them
//! and exists only while somebody watches.
//!
//! This module knows lines and rings. It does not know which commands lead to which events (see
//! `engine`), nor how bytes reach a client (see [`Feed`](nuthatch_proto::Feed)).

mod event;
mod gate;
mod ring;
mod watcher;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nuthatch_proto::WatchFlags;
use nuthatch_store::types::{Clock, Ttl};
use nuthatch_store::{CrawlReport, Leaving, StoreEvent};
use nuthatch_transport::Peer;
use parking_lot::{Condvar, Mutex};

pub(crate) use event::{Event, GetStatus, StoreStatus};
pub(crate) use gate::Gate;
use ring::{Batch, Ring};
pub(crate) use watcher::WatchFeed;
use watcher::Watcher;

use crate::options::Options;
use crate::{CloseReason, Conn, ConnObserver};

/// How many may watch at a time; memcached's figure.
const WATCHERS_MAX: usize = 20;

/// Rings besides those of the workers: for maintenance, and for whoever accepts connections.
const RINGS_EXTRA: usize = 2;

/// How long the writing thread rests when there was little to do. A line is that late at most, and
/// a busy server wakes it a thousand times a second and no more.
const REST: Duration = Duration::from_millis(1);

/// It takes no rest when a ring was found filled to more than this part.
const BUSY_PART: usize = 8;

/// The names of an LRU's queues.
const QUEUES: [&str; 4] = ["hot", "warm", "cold", "temp"];

/// Notes events for those who `watch`; clones are the same logger.
///
/// A server makes one before its store and its engine, and gives it to both:
///
/// ```
/// use nuthatch_server::options::Options;
/// use nuthatch_server::store::{Cause, Store};
/// use nuthatch_server::{Engine, Logger};
///
/// let options = Options::default();
/// let logger = Logger::new(&options);
/// let store = Store::builder()
///     .listener(&[Cause::Evicted], logger.evictions())
///     .events(logger.maintenance())
///     .build()?;
/// let engine = Engine::builder().options(options).logger(logger).build(store);
/// # drop(engine);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It holds memory only while somebody watches: up to
/// [`watcher_logbuf_bytes`](Options::watcher_logbuf_bytes) for each who does, and up to four times
/// [`worker_logbuf_bytes`](Options::worker_logbuf_bytes) for each worker.
#[derive(Clone)]
pub struct Logger(Arc<Inner>);

struct Inner {
    gate: Arc<Gate>,
    rings: Box<[Ring]>,
    watcher_bytes: usize,
    /// The number of the last event.
    gid: AtomicU64,
    registry: Mutex<Registry>,
    bell: Bell,
    tally: Tally,
}

#[derive(Default)]
struct Registry {
    watchers: Vec<Arc<Watcher>>,
    /// Whether the writing thread is there.
    is_written: bool,
}

/// What happened to lines.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

/// The logger's part of `stats`, since the start or the last `stats reset`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct LoggerStats {
    /// Events for which a worker's ring had no room.
    pub(crate) worker_dropped: u64,
    /// Events noted.
    pub(crate) worker_written: u64,
    /// Lines for which a watcher's ring had no room.
    pub(crate) watcher_skipped: u64,
    /// Lines given to watchers.
    pub(crate) watcher_sent: u64,
    /// Who watches now.
    pub(crate) watchers: u64,
}

/// Why somebody may not watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WatchError {
    TooMany,
    /// The system gave no thread.
    NoThread,
}

impl Logger {
    /// A logger for a server with these options: their sizes of rings and number of workers.
    pub fn new(options: &Options) -> Self {
        let n_rings = options.threads + RINGS_EXTRA;
        Self(Arc::new(Inner {
            gate: Arc::default(),
            rings: (0..n_rings).map(|_| Ring::new(options.worker_logbuf_bytes)).collect(),
            watcher_bytes: options.watcher_logbuf_bytes,
            gid: AtomicU64::new(0),
            registry: Mutex::default(),
            bell: Bell::default(),
            tally: Tally::default(),
        }))
    }

    /// The listener for [`Builder::listener`](nuthatch_store::Builder::listener) that notes
    /// evictions; for [`Cause::Evicted`](nuthatch_store::Cause::Evicted) alone.
    pub fn evictions(&self) -> impl Fn(Leaving<'_>) + Send + Sync + use<> + 'static {
        let logger = self.clone();
        move |item| {
            if !logger.0.gate.is_watched(WatchFlags::EVICTIONS) {
                return;
            }
            let event = Event::Eviction {
                was_fetched: item.was_read(),
                ttl: seconds(item.ttl()),
                last_access_secs: item.last_access_secs(),
                class: item.class(),
                len: item.len(),
            };
            logger.note(WatchFlags::EVICTIONS, event, item.key());
        }
    }

    /// What [`Builder::events`](nuthatch_store::Builder::events) is to call, for what maintenance
    /// does.
    pub fn maintenance(&self) -> impl Fn(StoreEvent<'_>) + Send + Sync + use<> + 'static {
        let logger = self.clone();
        move |event| match event {
            StoreEvent::CrawlDone(report) => {
                let queue = QUEUES.get(usize::from(report.queue)).unwrap_or(&"");
                let CrawlReport { class, low_mark, next_reclaims, examined, reclaimed, .. } =
                    *report;
                let (since, next) = (report.since_run_secs, report.next_run_secs);
                let elapsed = report.elapsed_secs;
                logger.note_text(
                    WatchFlags::SYSEVENTS,
                    format_args!(
                        "type=lru_crawler crawler={class} lru={queue} low_mark={low_mark} \
                         next_reclaims={next_reclaims} since_run={since} next_run={next} \
                         elapsed={elapsed} examined={examined} reclaimed={reclaimed}"
                    ),
                );
            }
            StoreEvent::PageMoved { src, dst, ok } => {
                let state = if ok { "ok" } else { "fail" };
                logger.note_text(
                    WatchFlags::SYSEVENTS,
                    format_args!("type=slab_move src={src} dst={dst} state={state}"),
                );
            }
            // The store may learn to tell more before there are lines for it.
            _ => {}
        }
    }

    /// The word that says who wants to know what.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.0.gate
    }

    /// Notes an event that somebody of `kinds` wants to know of. `text` is the key it is about, or
    /// for [`Event::Text`] the text.
    pub(crate) fn note(&self, kinds: WatchFlags, event: Event, text: &[u8]) {
        let inner = &*self.0;
        let number = THREAD_NUMBER.with(|number| *number);
        inner.rings[number % inner.rings.len()].note(&inner.gid, kinds, event, text);
        inner.bell.ring();
    }

    /// Notes an event for which there is a text, if anybody wants to know of it.
    pub(crate) fn note_text(&self, kinds: WatchFlags, text: fmt::Arguments<'_>) {
        if self.0.gate.is_watched(kinds) {
            self.note(kinds, Event::Text, text.to_string().as_bytes());
        }
    }

    /// Begins to watch.
    pub(crate) fn watch(&self, kinds: WatchFlags) -> Result<WatchFeed, WatchError> {
        let inner = &self.0;
        let mut registry = inner.registry.lock();
        if registry.watchers.len() >= WATCHERS_MAX {
            return Err(WatchError::TooMany);
        }
        if !registry.is_written {
            let inner = Arc::clone(inner);
            std::thread::Builder::new()
                .name("nuthatch-log".to_owned())
                .spawn(move || inner.write())
                .map_err(|_| WatchError::NoThread)?;
            registry.is_written = true;
        }
        // What was noted before is not for this one, though it may still lie in a ring.
        let since = inner.gid.load(Ordering::Relaxed);
        let watcher = Arc::new(Watcher::new(kinds, since, inner.watcher_bytes));
        registry.watchers.push(Arc::clone(&watcher));
        inner.open_gate(&registry);
        Ok(WatchFeed::new(watcher, self.clone()))
    }

    /// Ends it.
    fn leave(&self, watcher: &Arc<Watcher>) {
        let inner = &*self.0;
        let mut registry = inner.registry.lock();
        registry.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        inner.open_gate(&registry);
        drop(registry);
        inner.bell.ring();
    }

    pub(crate) fn stats(&self) -> LoggerStats {
        let inner = &*self.0;
        let mut stats = LoggerStats {
            watcher_sent: inner.tally.sent.load(Ordering::Relaxed),
            watcher_skipped: inner.tally.skipped.load(Ordering::Relaxed),
            watchers: inner.registry.lock().watchers.len() as u64,
            ..LoggerStats::default()
        };
        for ring in &inner.rings {
            let (written, dropped) = ring.counts();
            stats.worker_written += written;
            stats.worker_dropped += dropped;
        }
        stats
    }

    /// What `stats reset` does: all counts but that of the watchers become 0.
    pub(crate) fn reset(&self) {
        self.0.rings.iter().for_each(Ring::reset);
        self.0.tally.sent.store(0, Ordering::Relaxed);
        self.0.tally.skipped.store(0, Ordering::Relaxed);
    }
}

/// Given to [`ServerBuilder::observer`](crate::ServerBuilder::observer), it notes connections.
impl ConnObserver for Logger {
    fn conn_new(&self, conn: &Conn) {
        let (ip, port, transport) = endpoint(conn);
        let cfd = conn.number();
        self.note_text(
            WatchFlags::CONNEVENTS,
            format_args!("type=conn_new rip={ip} rport={port} transport={transport} cfd={cfd}"),
        );
    }

    fn conn_close(&self, conn: &Conn, reason: CloseReason) {
        let (ip, port, transport) = endpoint(conn);
        let (reason, cfd) = (reason.as_str(), conn.number());
        self.note_text(
            WatchFlags::CONNEVENTS,
            format_args!(
                "type=conn_close rip={ip} rport={port} transport={transport} reason={reason} \
                 cfd={cfd}"
            ),
        );
    }

    fn conn_tls_error(&self, conn: &Conn, reason: &dyn fmt::Display) {
        let fd = conn.number();
        self.note_text(
            WatchFlags::CONNEVENTS,
            format_args!("type=conntlserr fd={fd} msg={reason}"),
        );
    }
}

/// Who is at the other end of a connection, as lines show it.
fn endpoint(conn: &Conn) -> (Address, u16, &'static str) {
    match conn.peer() {
        Some(Peer::Tcp(address)) => (Address(Some(address.ip())), address.port(), "tcp"),
        Some(Peer::Unix) | None => (Address(None), 0, "local"),
    }
}

/// An IP address; processes of this machine have none.
struct Address(Option<IpAddr>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("stats", &self.stats()).finish()
    }
}

impl Inner {
    fn open_gate(&self, registry: &Registry) {
        let all = registry
            .watchers
            .iter()
            .fold(WatchFlags::default(), |all, watcher| all.union(watcher.kinds()));
        self.gate.set_watched(all);
    }

    /// The writing thread: makes lines of events until nobody watches any more.
    fn write(&self) {
        let mut batches: Vec<Batch> = self.rings.iter().map(|_| Batch::default()).collect();
        let mut line = Vec::new();
        loop {
            let watchers = {
                let mut registry = self.registry.lock();
                if registry.watchers.is_empty() {
                    registry.is_written = false;
                    // Under the lock, so that whoever comes next finds them as they are to be.
                    self.rings.iter().for_each(Ring::free);
                    return;
                }
                registry.watchers.clone()
            };
            // Every event up to here is in its ring, or will be when that can be locked: numbers
            // are given out under the locks. Those after it wait for the next round, since others
            // before them may still be on their way.
            let up_to = self.gid.load(Ordering::Acquire);
            let mut is_more = false;
            for (ring, batch) in self.rings.iter().zip(&mut batches) {
                is_more |= ring.take(up_to, batch);
            }
            let is_busy = batches
                .iter()
                .zip(&self.rings)
                .any(|(batch, ring)| batch.bytes() > ring.bytes_max() / BUSY_PART);
            Batch::merge(&mut batches, |note, text| {
                line.clear();
                note.write_line(text, &mut line);
                for watcher in watchers.iter().filter(|watcher| watcher.wants(note)) {
                    watcher.offer(&line, &self.tally);
                }
            });
            watchers.iter().for_each(|watcher| watcher.wake());
            drop(watchers);
            if !is_busy {
                std::thread::sleep(REST);
            }
            if !is_more {
                self.bell.wait();
            }
        }
    }
}

/// The seconds of a life span; `None` is for ever.
fn seconds(ttl: Ttl) -> Option<u32> {
    let clock = Clock { now: 1, unix_base: 0 };
    match ttl.deadline(clock) {
        0 => None,
        deadline => Some(deadline - clock.now),
    }
}

/// Calls the writing thread.
#[derive(Default)]
struct Bell {
    is_rung: AtomicBool,
    lock: Mutex<()>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        // Whoever noted something after its ring was emptied sees that the thread had begun to
        // look, by way of the ring's lock; what was noted before, the thread has seen.
        if self.is_rung.load(Ordering::Relaxed) || self.is_rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // The thread is either before its look at the flag or asleep, not between the two.
        drop(self.lock.lock());
        self.heard.notify_one();
    }

    /// Waits until it is rung, and begins anew.
    fn wait(&self) {
        let mut guard = self.lock.lock();
        while !self.is_rung.load(Ordering::Acquire) {
            self.heard.wait(&mut guard);
        }
        self.is_rung.store(false, Ordering::Release);
    }
}

/// Numbers the threads that have noted something, one after another.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD_NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
