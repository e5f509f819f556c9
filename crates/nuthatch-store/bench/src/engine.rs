//! What every engine is driven through.

/// How much an engine may hold, in the terms that it understands.
#[derive(Clone, Debug)]
pub(crate) struct Capacity {
    /// Whether `amount` counts items; else bytes.
    pub(crate) unit: bool,
    /// Items, or bytes of key, value and `overhead`; for an engine bounded by real memory, bytes of
    /// that.
    pub(crate) amount: u64,
    /// What is charged for each item besides its key and value, where `amount` counts bytes.
    pub(crate) overhead: u64,
    /// How many items are expected to be held.
    pub(crate) items: usize,
    /// Key and value of one item where `unit`: an engine bounded by memory needs it.
    pub(crate) item_bytes: usize,
}

impl Capacity {
    pub(crate) fn weight(&self, key: usize, value: usize) -> u64 {
        if self.unit { 1 } else { key as u64 + value as u64 + self.overhead }
    }
}

/// A cache of byte values.
pub(crate) trait Engine {
    /// Shows the value to `seen` and says whether there was one.
    fn get(&self, key: &[u8], seen: &mut dyn FnMut(&[u8])) -> bool;

    /// Several gets; says how many hit. An engine that can overlap their cache misses does.
    fn get_batch(&self, keys: &[&[u8]], seen: &mut dyn FnMut(&[u8])) -> usize {
        keys.iter().filter(|key| self.get(key, seen)).count()
    }

    /// Stores a value for so many seconds, 0 for ever.
    fn set(&self, key: &[u8], value: &[u8], ttl: u32);

    fn delete(&self, key: &[u8]);

    /// Does what the engine has put off.
    fn settle(&self) {}

    /// Tells an engine whose clock can be set what second it is; false if it has none, and the
    /// replayer has to count hits on dead items as misses.
    fn set_now(&self, _now: u32) -> bool {
        false
    }

    /// Called every few hundred requests of a replay, for engines whose maintenance is driven from
    /// outside.
    fn tick(&self) {}

    /// Items held, where the engine says so.
    fn len(&self) -> Option<u64> {
        None
    }

    /// Bytes that the engine has taken for items and index, where it says so.
    fn memory(&self) -> Option<Memory> {
        None
    }
}

/// What an engine says it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) items: u64,
    pub(crate) index: u64,
}

/// An engine, and whether threads may share it.
pub(crate) enum Made {
    Shared(Box<dyn Engine + Send + Sync>),
    Single(Box<dyn Engine>),
}

impl Made {
    pub(crate) fn get(&self) -> &dyn Engine {
        match self {
            Self::Shared(engine) => &**engine,
            Self::Single(engine) => &**engine,
        }
    }
}
