//! A memcached server to run as `nuthatchd` or to build one's own from.
//!
//! [`options`] is memcached's command line as a table; [`process`] is what a daemon does to its
//! own process before it serves.

#![forbid(unsafe_code)]

pub mod options;
pub mod process;
