//! An async memcached client.

#![forbid(unsafe_code)]
