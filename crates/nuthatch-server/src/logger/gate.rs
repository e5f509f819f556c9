//! The word that a request looks at before it is served as if nobody were interested.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nuthatch_proto::WatchFlags;

/// Who wants to know what, in one word: what is watched, whether prefixes are counted, and whether
/// commands are logged. 0 is nobody.
///
/// It changes when an operator says so and is read by every request, so it stands alone on its
/// cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate(AtomicU32);

/// The bits of [`WatchFlags`].
const WATCHED: u32 = u16::MAX as u32;

/// What a request may have to tell of.
const REQUESTS: u32 =
    WatchFlags::FETCHERS.union(WatchFlags::MUTATIONS).union(WatchFlags::DELETIONS).bits() as u32
        | Gate::DETAIL
        | Gate::VERBOSE;

impl Gate {
    /// `stats detail on`: prefixes are counted.
    pub(crate) const DETAIL: u32 = 1 << 16;
    /// Verbosity 2 or more: every command is logged.
    pub(crate) const VERBOSE: u32 = 1 << 17;

    pub(crate) fn load(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// The part that is about requests; 0 if nobody wants to know of them.
    pub(crate) fn load_for_request(&self) -> u32 {
        self.load() & REQUESTS
    }

    /// Whether somebody watches any of these.
    pub(crate) fn is_watched(&self, kinds: WatchFlags) -> bool {
        self.load() & u32::from(kinds.bits()) != 0
    }

    /// Says what is watched. The logger does, one call at a time.
    pub(super) fn set_watched(&self, kinds: WatchFlags) {
        let _ = self
            .0
            .fetch_update(Relaxed, Relaxed, |word| Some(word & !WATCHED | u32::from(kinds.bits())));
    }

    /// Sets or clears [`DETAIL`](Self::DETAIL) or [`VERBOSE`](Self::VERBOSE).
    pub(crate) fn set(&self, bit: u32, on: bool) {
        debug_assert_eq!(bit & WATCHED, 0, "what is watched is the logger's to say");
        if on {
            self.0.fetch_or(bit, Relaxed);
        } else {
            self.0.fetch_and(!bit, Relaxed);
        }
    }
}
