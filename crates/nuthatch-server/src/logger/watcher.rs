//! Somebody who watches: a ring of lines, and the feed that empties it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use nuthatch_proto::{Fed, Feed, Output, WatchFlags};
use parking_lot::Mutex;

use super::ring::Note;
use super::{Logger, Tally};

/// What the logger knows of a watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    kinds: WatchFlags,
    /// Events up to this number are not for it.
    since: u64,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<u8>,
    /// Lines for which there was no room since the last one that got in.
    n_skipped: u64,
    /// Whoever waits for lines.
    waker: Option<Waker>,
}

impl Watcher {
    pub(super) fn new(kinds: WatchFlags, since: u64, bytes_max: usize) -> Self {
        Self { kinds, since, bytes_max, state: Mutex::default() }
    }

    pub(super) fn kinds(&self) -> WatchFlags {
        self.kinds
    }

    pub(super) fn wants(&self, note: &Note) -> bool {
        self.kinds.intersects(note.kinds) && note.gid > self.since
    }

    /// Takes a line if there is room, and counts it otherwise. The first line after some that were
    /// skipped comes after one that says how many.
    pub(super) fn offer(&self, line: &[u8], tally: &Tally) {
        let mut state = self.state.lock();
        let mut notice = Vec::new();
        if state.n_skipped > 0 {
            // Writing to memory does not fail.
            let _ = writeln!(notice, "skipped={}", state.n_skipped);
        }
        let len = state.lines.len() + notice.len() + line.len();
        if len > self.bytes_max {
            state.n_skipped += 1;
            tally.skipped.fetch_add(1, Relaxed);
            return;
        }
        if len > state.lines.capacity() {
            // Doubling, but not beyond what is allowed.
            let wanted = len.next_power_of_two().min(self.bytes_max);
            let more = wanted - state.lines.len();
            state.lines.reserve_exact(more);
        }
        state.lines.extend(&notice);
        state.lines.extend(line);
        state.n_skipped = 0;
        tally.sent.fetch_add(1, Relaxed);
    }

    /// Wakes whoever waits for lines, if there are any.
    pub(super) fn wake(&self) {
        let mut state = self.state.lock();
        if state.lines.is_empty() {
            return;
        }
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Gives a connection the lines that are for it, for as long as it is there. Dropped, it ends the
/// watching.
pub(crate) struct WatchFeed {
    watcher: Arc<Watcher>,
    logger: Logger,
}

impl WatchFeed {
    pub(super) fn new(watcher: Arc<Watcher>, logger: Logger) -> Self {
        Self { watcher, logger }
    }
}

impl Feed for WatchFeed {
    fn poll_feed(&mut self, cx: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        let mut state = self.watcher.state.lock();
        if state.lines.is_empty() {
            match &mut state.waker {
                Some(old) => old.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let n = state.lines.len().min(out.room());
        let (front, back) = state.lines.as_slices();
        let n_front = n.min(front.len());
        out.push(&front[..n_front]);
        out.push(&back[..n - n_front]);
        state.lines.drain(..n);
        Poll::Ready(Fed::More)
    }
}

impl Drop for WatchFeed {
    fn drop(&mut self) {
        self.logger.leave(&self.watcher);
    }
}
