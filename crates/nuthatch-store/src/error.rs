//! What can go wrong when an item is stored or a store is built.

/// Why a store could not take an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The item, its key and header counted, exceeds `item_size_max`. Retrying is pointless.
    #[error("item of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What the item would take, in bytes.
        bytes: usize,
        /// The configured `item_size_max`, in bytes.
        limit: usize,
    },
    /// No chunk could be freed: evictions are off, or everything in the class is in use. A later
    /// attempt may succeed.
    #[error("no memory for an item of slab class {class}")]
    NoMemory {
        /// The slab class that had nothing to give; 0 where it was the index that could not grow.
        class: u8,
    },
    /// The memory ran out while a long value was being written. A later attempt may succeed.
    #[error("no memory for the rest of the value in slab class {class}")]
    NoMemoryForRest {
        /// The slab class that had nothing to give.
        class: u8,
    },
}

/// Why a crawl or a dump was not begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CrawlError {
    /// The crawler is switched off.
    #[error("the LRU crawler is disabled")]
    Disabled,
    /// A crawl is under way, or so many dumps are. A later attempt may succeed.
    #[error("the LRU crawler is busy")]
    Busy,
    /// Class numbers are 1 to 63.
    #[error("invalid slab class")]
    BadClass,
    /// No class was named.
    #[error("there is nothing to crawl")]
    NothingToCrawl,
}

/// Why a store could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is outside its range.
    #[error("{setting}: {reason}")]
    OutOfRange {
        /// The setting's name.
        setting: &'static str,
        /// What would be right.
        reason: &'static str,
    },
    /// The operating system did not give the address range that item memory lives in.
    #[error("cannot reserve {bytes} bytes of address space: {source}")]
    Reserve {
        /// The size asked for, in bytes.
        bytes: usize,
        /// The system's answer.
        source: std::io::Error,
    },
}
