//! What the tests of the nuthatch workspace share.

#![forbid(unsafe_code)]
