//! The word that a request looks at before it is served as if nobody were interested.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Who wants to know what, in one word; 0 is nobody.
///
/// It changes when an operator says so and is read by every request, so it stands alone on its
/// cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gate(AtomicU32);

impl Gate {
    /// `stats detail on`: prefixes are counted.
    pub(crate) const DETAIL: u32 = 1 << 16;
    /// Verbosity 2 or more: every command is logged.
    pub(crate) const VERBOSE: u32 = 1 << 17;

    pub(crate) fn load(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Sets or clears a bit.
    pub(crate) fn set(&self, bit: u32, on: bool) {
        if on {
            self.0.fetch_or(bit, Relaxed);
        } else {
            self.0.fetch_and(!bit, Relaxed);
        }
    }
}
