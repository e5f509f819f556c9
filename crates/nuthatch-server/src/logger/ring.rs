//! What one thread has noted and nobody has made lines of yet.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nuthatch_proto::WatchFlags;
use parking_lot::Mutex;

use super::Event;

/// An event with what every line begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    /// Its number: later events have higher ones.
    pub(super) gid: u64,
    /// When it happened, in microseconds of Unix time.
    at_us: u64,
    /// Who wants to know of it.
    pub(super) kinds: WatchFlags,
    event: Event,
    /// The length of its text, in bytes.
    text_len: usize,
}

impl Note {
    /// Appends the line, its end included.
    pub(super) fn write_line(&self, text: &[u8], out: &mut Vec<u8>) {
        let (secs, us) = (self.at_us / 1_000_000, self.at_us % 1_000_000);
        // Writing to memory does not fail.
        let _ = write!(out, "ts={secs}.{us:06} gid={} ", self.gid);
        self.event.write(text, out);
        out.push(b'\n');
    }
}

/// Notes of one thread in the order of their numbers, and their texts one after another.
#[derive(Debug, Default)]
pub(super) struct Batch {
    notes: Vec<Note>,
    text: Vec<u8>,
}

impl Batch {
    /// What it counts for, in bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.notes.as_slice()) + self.text.len()
    }

    fn clear(&mut self) {
        self.notes.clear();
        self.text.clear();
    }

    /// Calls `f` with all notes of some threads in the order of their numbers, and empties the
    /// batches.
    pub(super) fn merge(batches: &mut [Self], mut f: impl FnMut(&Note, &[u8])) {
        // Where each batch has got to: notes, and bytes of text.
        let mut places = vec![(0, 0); batches.len()];
        loop {
            let next = batches
                .iter()
                .zip(&mut places)
                .filter_map(|(batch, place)| Some((batch.notes.get(place.0)?, &batch.text, place)))
                .min_by_key(|(note, ..)| note.gid);
            let Some((note, text, (n_notes, start))) = next else { break };
            let end = *start + note.text_len;
            f(note, &text[*start..end]);
            (*n_notes, *start) = (*n_notes + 1, end);
        }
        batches.iter_mut().for_each(Self::clear);
    }
}

/// A thread's notes, up to a limit. Threads beyond the number of rings share them.
#[derive(Debug)]
pub(super) struct Ring {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    batch: Batch,
    written: u64,
    dropped: u64,
}

impl Ring {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Adds a note, or drops it if there is no room. Its number is the next one after `gid`, which
    /// is counted up under the lock: see [`take`](Self::take).
    pub(super) fn note(&self, gid: &AtomicU64, kinds: WatchFlags, event: Event, text: &[u8]) {
        let mut state = self.state.lock();
        let State { batch, written, dropped } = &mut *state;
        if batch.bytes() + size_of::<Note>() + text.len() > self.bytes_max {
            *dropped += 1;
            return;
        }
        let gid = gid.fetch_add(1, Ordering::AcqRel) + 1;
        grow(&mut batch.notes, 1, self.bytes_max / size_of::<Note>());
        batch.notes.push(Note { gid, at_us: now_us(), kinds, event, text_len: text.len() });
        grow(&mut batch.text, text.len(), self.bytes_max);
        batch.text.extend_from_slice(text);
        *written += 1;
    }

    /// Takes out all notes up to a number, into an empty batch; true if there are others.
    pub(super) fn take(&self, up_to: u64, batch: &mut Batch) -> bool {
        debug_assert!(batch.notes.is_empty() && batch.text.is_empty());
        let mut state = self.state.lock();
        std::mem::swap(&mut state.batch, batch);
        let n_taken = batch.notes.partition_point(|note| note.gid <= up_to);
        if n_taken == batch.notes.len() {
            return false;
        }
        let text_len: usize = batch.notes[..n_taken].iter().map(|note| note.text_len).sum();
        state.batch.notes.extend(batch.notes.drain(n_taken..));
        state.batch.text.extend(batch.text.drain(text_len..));
        true
    }

    /// Forgets everything and gives its memory back.
    pub(super) fn free(&self) {
        self.state.lock().batch = Batch::default();
    }

    /// Notes written and dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.written, state.dropped)
    }

    /// Counts from 0 again.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        (state.written, state.dropped) = (0, 0);
    }
}

/// Makes room for `n_more`, doubling, but not beyond `n_max` in all.
fn grow<T>(list: &mut Vec<T>, n_more: usize, n_max: usize) {
    let n = list.len() + n_more;
    if n > list.capacity() {
        list.reserve_exact(n.next_power_of_two().min(n_max) - list.len());
    }
}

#[expect(clippy::disallowed_methods, reason = "lines bear the time of day to the microsecond")]
fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
