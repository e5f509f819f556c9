//! What the tests of the nuthatch workspace share.
