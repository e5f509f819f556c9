//! Nothing of its own: the programs beside this file show how the nuthatch crates are used.

#![forbid(unsafe_code)]
