//! The error lines of the protocol, as memcached words them, and the errors of the client side.

use nuthatch_types::{KeyError, limits};

/// Too few arguments, a key that is too long, or a number that is none.
pub(crate) const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";

/// A value that is not followed by its line end.
pub(crate) const BAD_DATA_CHUNK: &str = "CLIENT_ERROR bad data chunk";

/// What an unknown command gets.
pub(crate) const UNKNOWN: &str = "ERROR";

/// A value too large for the place it would go to.
pub(crate) const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";

/// The memory for a value ran out while it was arriving.
pub(crate) const NO_MEMORY_READING: &str = "SERVER_ERROR Out of memory during read";

/// Wrong arguments of an administrative command.
///
/// memcached looks at some settings before it looks at the arguments (`flush_all` may be turned
/// off, `shutdown` is off by default). Where that is so, the request carries this error in place
/// of its arguments, and the server answers it when the command is allowed at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{line}")]
pub struct ArgError {
    line: &'static str,
}

impl ArgError {
    pub(crate) const fn new(line: &'static str) -> Self {
        Self { line }
    }

    /// The line to answer with, without its line end.
    pub const fn line(self) -> &'static str {
        self.line
    }
}

/// Why a client connection cannot go on, or why it refused a command.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server sent something that answers no open request; what follows cannot be trusted.
    #[error("answer out of step: {line:?}")]
    OutOfStep {
        /// The beginning of the offending line.
        line: String,
    },
    /// A reply line is longer than the limit; the rest of the stream is lost.
    #[error("reply line exceeds {limit} bytes")]
    LineTooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// A value is larger than the limit; the connection cannot go on without reading it.
    #[error("value of {len} bytes exceeds the limit of {limit}")]
    ValueTooLong {
        /// The length the server announced, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The caller's key cannot be sent by this command.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The caller's value cannot be announced on the wire.
    #[error("value of {len} bytes exceeds what the protocol can carry, {max}", max = limits::VALUE_LEN_WIRE_MAX)]
    ValueUnsendable {
        /// The value's length, in bytes.
        len: usize,
    },
    /// The opaque token of a meta command is longer than 31 bytes or holds a space or control byte.
    #[error("opaque token is too long or has a space or control byte")]
    Opaque,
}
