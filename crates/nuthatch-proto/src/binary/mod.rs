//! The binary protocol: frames in, requests out, and frames for the answers.
//!
//! A frame is a header of 24 bytes and a body, in both directions; numbers are big-endian:
//!
//! ```text
//!   byte  0        1        2        3        4        5        6        7
//!        ┌────────┬────────┬─────────────────┬────────┬────────┬─────────────────┐
//!      0 │ magic  │ opcode │   key length    │ extras │  data  │ vbucket (asked) │
//!        │80 / 81 │        │                 │ length │  type  │ status (answer) │
//!        ├────────┴────────┴─────────────────┼────────┴────────┴─────────────────┤
//!      8 │        body length                │        opaque: sent back          │
//!        ├───────────────────────────────────┴───────────────────────────────────┤
//!     16 │                                 CAS                                   │
//!        ├───────────────────────────────────────────────────────────────────────┤
//!     24 │ body: extras │ key │ value                                            │
//!        └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The body's length counts the extras and the key. Keys may hold any byte. Data type and vbucket
//! are not looked at.
//!
//! What a frame says of itself is judged by its header alone (`Header::opcode`): which lengths go
//! with which opcode, and what it costs to get them wrong. Nothing is said before the extras and
//! the key have arrived too, so that the answer stands where memcached's stands.
//!
//! memcached calls this protocol deprecated, and still serves it; so it is served here, as 1.6.45
//! does it. Different on purpose:
//!
//! - an unknown opcode is answered and exactly its body skipped, where memcached skips as much
//!   again, and with it the beginning of the next frame;
//! - `touch`, `gat` and `stat` with a value are refused like any other wrong length, where
//!   memcached reads that value as the next frame.

mod header;
mod opcode;
mod read;
mod status;
pub(crate) mod write;

pub use header::{HEADER_LEN, Header, REQUEST_MAGIC, RESPONSE_MAGIC};
pub use opcode::{Opcode, Verb};
pub use read::{Frame, parse_frame};
pub(crate) use read::{Head, key_of};
pub use status::Status;
pub(crate) use status::{outcome, refusal};
