//! `cargo xtask docs`: the manual page and the reference page, from the tables of options.

use anyhow::Result;

use crate::run;

/// Writes the pages. Whether they are up to date is a test of the server's, which writes them when
/// it is asked to.
pub(crate) fn run() -> Result<()> {
    let test = ["test", "-q", "-p", "nuthatch-server", "--test", "it", "manual::"];
    run::done(run::cargo().args(test).env("NUTHATCH_WRITE_DOCS", "1"))
}
