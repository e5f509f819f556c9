//! The numbers that more than one crate must agree on, each with its reason.

/// The longest key in bytes (`KEY_MAX_LENGTH` of memcached; its binary protocol has a 16-bit
/// field and refuses longer ones all the same).
pub const KEY_LEN_MAX: usize = 250;

/// The default of `-I`: the largest item, in bytes, header and key included.
pub const ITEM_SIZE_DEFAULT: usize = 1 << 20;

/// The upper bound of `-I`: 1 GiB.
pub const ITEM_SIZE_MAX: usize = 1 << 30;

/// The lower bound of `-I`: 1 KiB.
pub const ITEM_SIZE_MIN: usize = 1 << 10;

/// The default of `-m`: 64 MiB of item memory.
pub const MEMORY_DEFAULT: usize = 64 << 20;

/// A slab page: what one class takes from the pool at a time.
pub const PAGE_BYTES: usize = 1 << 20;

/// The longest value length a command line may announce: `i32::MAX - 2`, because memcached adds
/// the two bytes of the line end in a signed 32-bit integer.
pub const VALUE_LEN_WIRE_MAX: usize = (i32::MAX - 2) as usize;

/// The longest command line that may still lack its line end, in bytes, for anything but a
/// multi-get: memcached closes such a connection.
pub const LINE_LEN_MAX: usize = 2048;

/// The longest `get`/`gets` line, in bytes. memcached grows its buffer without bound; here a
/// client can make the server hold this much and no more. At 250 bytes a key it is 33,000 keys.
pub const GET_LINE_LEN_MAX: usize = 8 << 20;

/// The longest opaque token of a meta command, the letter `O` included.
pub const META_OPAQUE_LEN_MAX: usize = 32;

/// The most tokens a meta command line may have: command, key and flags.
pub const META_TOKENS_MAX: usize = 20;

/// The port memcached listens on.
pub const PORT_DEFAULT: u16 = 11211;

/// The longest membership list that auto-discovery passes around, in bytes (`config_size_max` of
/// ElastiCache).
pub const CLUSTER_CONFIG_LEN_MAX: usize = 64 << 10;
