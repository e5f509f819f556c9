//! `nuthatchd` as users start it: real processes, real sockets.

mod startup;
mod transcripts;

/// The program under test.
const NUTHATCHD: &str = env!("CARGO_BIN_EXE_nuthatchd");
