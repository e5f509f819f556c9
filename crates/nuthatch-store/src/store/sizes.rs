//! How many items of which size there are (`stats sizes`), counted as they come and go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::{Inner, Store};

/// The steps of the histogram, in bytes; memcached's.
const STEP_BYTES: usize = 32;

/// Steps with a counter of their own: up to 1 MiB. Larger items are few, and a table that had a
/// place for each of their sizes would take 256 MiB.
const STEPS: usize = (1 << 20) / STEP_BYTES + 1;

/// The histogram.
#[derive(Debug)]
pub(crate) struct Sizes {
    steps: Box<[AtomicU64]>,
    larger: Mutex<BTreeMap<usize, u64>>,
}

impl Sizes {
    pub(crate) fn new() -> Self {
        Self {
            steps: (0..STEPS).map(|_| AtomicU64::new(0)).collect(),
            larger: Mutex::new(BTreeMap::new()),
        }
    }

    #[cold]
    fn add(&self, bytes: usize) {
        let step = bytes.div_ceil(STEP_BYTES);
        match self.steps.get(step) {
            Some(n) => _ = n.fetch_add(1, Relaxed),
            None => *self.larger.lock().entry(step).or_default() += 1,
        }
    }

    #[cold]
    fn remove(&self, bytes: usize) {
        let step = bytes.div_ceil(STEP_BYTES);
        if let Some(n) = self.steps.get(step) {
            let before = n.fetch_sub(1, Relaxed);
            debug_assert!(before > 0, "what goes has come");
            return;
        }
        let mut larger = self.larger.lock();
        let n = larger.get_mut(&step).expect("what goes has come");
        *n -= 1;
        if *n == 0 {
            larger.remove(&step);
        }
    }

    fn read(&self) -> Vec<(u64, u64)> {
        let small = self.steps.iter().map(|n| n.load(Relaxed)).enumerate();
        let larger = self.larger.lock();
        let steps = small.filter(|&(_, n)| n > 0).chain(larger.iter().map(|(&step, &n)| (step, n)));
        steps.map(|(step, n)| ((step * STEP_BYTES) as u64, n)).collect()
    }
}

impl Inner {
    /// Counts an item that is linked, by its size.
    #[inline]
    pub(crate) fn count_in(&self, bytes: usize) {
        if let Some(sizes) = &self.sizes {
            sizes.add(bytes);
        }
    }

    /// Counts an item that is no longer linked.
    #[inline]
    pub(crate) fn count_out(&self, bytes: usize) {
        if let Some(sizes) = &self.sizes {
            sizes.remove(bytes);
        }
    }
}

impl Store {
    /// How many items there are of each size (`stats sizes`), the dead included: pairs of a size
    /// and a number, ascending. A size is [`ItemView::total_bytes`](crate::ItemView::total_bytes)
    /// rounded up to 32 bytes; those of which there are none are left out. Empty unless the store
    /// was built to [`track_sizes`](crate::Builder::track_sizes).
    ///
    /// ```
    /// # use nuthatch_store::{Set, Store, types::Key};
    /// let store = Store::builder().track_sizes(true).build()?;
    /// for key in ["a", "b"] {
    ///     store.set(Key::new(key)?, b"12345", Set::default())?;
    /// }
    /// store.set(Key::new("c")?, &[b'x'; 100], Set::default())?;
    /// assert_eq!(store.sizes(), [(64, 2), (160, 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sizes(&self) -> Vec<(u64, u64)> {
        self.inner.sizes.as_ref().map(Sizes::read).unwrap_or_default()
    }
}
