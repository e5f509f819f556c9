//! Signals that arrive before the server is ready for them.
//!
//! The sockets are open, and the pid file tells whom to signal, a moment before the runtime that
//! catches signals runs. A `SIGTERM` in that moment would kill the process on the spot and leave
//! the pid file behind. So the signals are held back first and let through once somebody catches
//! them.

use std::io;

use nix::sys::signal::{SigSet, Signal};

use super::ProcessError;

/// What the server catches: the signals that end it, and the one that reloads.
pub const CAUGHT: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGHUP];

/// Signals that wait; see [`hold`].
#[derive(Debug)]
#[must_use = "signals that are held back for ever cannot end the server"]
pub struct Held {
    before: SigSet,
}

/// Holds back the signals of [`CAUGHT`] for this thread and the threads it starts from now on.
///
/// # Errors
///
/// [`ProcessError::System`] with what the system said.
pub fn hold() -> Result<Held, ProcessError> {
    let step = |error| ProcessError::system("failed to hold back signals", error);
    let before = SigSet::thread_get_mask().map_err(step)?;
    SigSet::from_iter(CAUGHT).thread_block().map_err(step)?;
    Ok(Held { before })
}

impl Held {
    /// Lets them through again, those that came meanwhile first. Call it on the thread that called
    /// [`hold`], when the signals are caught; threads started in between never get them, which is
    /// as well.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn release(self) -> io::Result<()> {
        self.before.thread_set_mask().map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn waiting(signal: Signal) -> bool {
        SigSet::thread_get_mask().unwrap().contains(signal)
    }

    #[test]
    fn signals_wait_until_they_are_let_through() {
        // A thread of its own, because the mask is the thread's.
        let test = thread::spawn(|| {
            let already = SigSet::from_iter([Signal::SIGUSR1, Signal::SIGUSR2]);
            already.thread_block().unwrap();
            let held = hold().unwrap();
            assert!(CAUGHT.into_iter().all(waiting));
            assert!(thread::spawn(|| CAUGHT.into_iter().all(waiting)).join().unwrap());
            held.release().unwrap();
            assert!(!waiting(Signal::SIGTERM) && !waiting(Signal::SIGINT));
            assert!(waiting(Signal::SIGUSR1) && waiting(Signal::SIGUSR2), "as it was before");
        });
        test.join().unwrap();
    }
}
