//! What makes a program a well-behaved daemon: resource limits, the user to run as, going to the
//! background, the pid file, the port file.
//!
//! Each step is a function that `nuthatchd` calls once, all but the last before the first worker
//! exists; the order matters and is this:
//!
//! 1. [`daemon::launch`] with `-d`: the program starts itself again and waits until that second
//!    process is ready, so that every error below still reaches the terminal and the exit code;
//! 2. [`logfile::LogFile::open`], then [`limits::allow_core_dumps`] (`-r`) and
//!    [`limits::raise_open_files`] (`-c`), which may need root;
//! 3. bind the TCP listeners: low ports may need root;
//! 4. [`user::switch`] (`-u`);
//! 5. bind the Unix socket, so that its file belongs to that user, as in memcached;
//! 6. [`signals::hold`], because what comes next tells others whom to signal, and nobody catches
//!    signals yet; the runtime that does lets them through ([`signals::Held::release`]);
//! 7. the store, then [`limits::lock_memory`] (`-k`), then threads; then
//!    [`pidfile::PidFile::write`] (`-P`) and [`ports::write`], which tell others that the sockets
//!    are open;
//! 8. from inside the running server, when all its threads are there: [`privileges::give_up`]
//!    (`-o drop_privileges`), [`logfile::LogFile::redirect`], [`daemon::Detached::ready`], by which
//!    the first process ends with exit code 0, and [`notify::Notifier::ready`].
//!
//! Safe code only: `fork` and `exec` come from [`std::process`], the rest from `nix`.

pub mod daemon;
pub mod exit;
pub mod hooks;
pub mod limits;
pub mod logfile;
pub mod notify;
pub mod pidfile;
pub mod ports;
pub mod privileges;
pub mod signals;
pub mod user;

/// Why the process cannot be set up as asked: a message for standard error and the exit code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Started as root without `-u`.
    #[error("must add '-u root' to start as root")]
    RootWithoutUser,
    /// `-u` names nobody.
    #[error("can't find the user {0} to switch to")]
    NoSuchUser(String),
    /// The system refused a step.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ProcessError {
    /// The code to exit with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::RootWithoutUser => exit::USAGE,
            Self::NoSuchUser(_) => exit::NO_USER,
            Self::System { .. } => exit::OS_ERROR,
        }
    }

    fn system(step: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { step: step.into(), source: source.into() }
    }
}
