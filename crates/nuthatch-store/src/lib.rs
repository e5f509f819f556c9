//! A bounded slab and LRU cache engine with memcached's semantics, synchronous and embeddable.
