//! The log file: where standard output and error go, for who starts the server without anything
//! that keeps them. systemd's journal is something that does ([`is_journal`]).

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use nix::{
    sys::stat::fstat,
    unistd::{dup2_stderr, dup2_stdout},
};

use super::ProcessError;

/// The environment variable in which systemd names the stream that it gave to a service.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Whether standard error is systemd's journal. A file would take from there what belongs there;
/// Debian's wrapper passes over `logfile` for that reason.
pub fn is_journal() -> bool {
    let Ok(status) = fstat(io::stderr().as_fd()) else { return false };
    let stream = format!("{}:{}", status.st_dev, status.st_ino);
    std::env::var(JOURNAL_VARIABLE).is_ok_and(|journal| journal == stream)
}

/// A log file, open and not yet written to.
#[derive(Debug)]
pub struct LogFile(File);

impl LogFile {
    /// Opens a file to write at its end, and makes it if need be, for its owner to write and its
    /// group to read. Call it before root is given up: log folders are root's.
    ///
    /// # Errors
    ///
    /// [`ProcessError::System`] with what the system said.
    pub fn open(path: &Path) -> Result<Self, ProcessError> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
        let step = || format!("failed to open the log file {}", path.display());
        file.map(Self).map_err(|error| ProcessError::system(step(), error))
    }

    /// Writes standard output and error to it from now on. Who started the server should have
    /// heard by then that it serves, or why not.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn redirect(self) -> io::Result<()> {
        dup2_stdout(self.0.as_fd())?;
        dup2_stderr(self.0.as_fd())?;
        Ok(())
    }
}
