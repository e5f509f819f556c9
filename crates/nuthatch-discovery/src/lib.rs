#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod clock;
mod error;
mod fixed;
mod follow;
mod member;
mod source;
mod spec;

// The public interface.
pub use error::SourceError;
pub use fixed::Static;
pub use follow::{Following, Limits, State, View, follow};
pub use member::{Member, Members};
pub use source::{Next, Source};
pub use spec::SourceSpec;
