//! `nuthatchd` as users start it: real processes, real sockets.

mod differences;
mod options;
mod robustness;
mod startup;
mod support;
mod transcripts;
