//! Resource limits: open files (`-c`), core files (`-r`), locked memory (`-k`); huge pages (`-L`).

use std::{fs, io};

use nix::{
    sys::{
        mman::{MlockAllFlags, mlockall},
        resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
    },
    unistd::geteuid,
};

use super::ProcessError;

/// How many files a server of so many workers and listeners has open besides its connections:
/// the standard streams, the signal pipe, a pid or port file for a moment, and for each runtime
/// its event queue and what wakes it.
pub fn files_reserved(threads: usize, listeners: usize) -> u32 {
    const FIXED: usize = 16;
    const PER_RUNTIME: usize = 4;
    let files = FIXED + (threads + 1) * PER_RUNTIME + listeners;
    u32::try_from(files).unwrap_or(u32::MAX)
}

/// Makes room for `conn_limit` connections and `reserved` other files (listeners, event queues,
/// standard streams), and gives the number of files that may be open now.
///
/// memcached sets both limits to exactly `-c` and so counts its own files as clients. Here the
/// limit is only ever raised: a soft limit that is high enough stays, else it becomes what is
/// needed, the hard limit too where that takes root. Where the hard limit has room for the
/// connections but not for all of the reserve, it is used up and the reserve comes out of the
/// connections, as in memcached.
///
/// # Errors
///
/// [`ProcessError::System`] when not even `conn_limit` files may be open.
pub fn raise_open_files(conn_limit: u32, reserved: u32) -> Result<u64, ProcessError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| ProcessError::system("failed to getrlimit number of files", error))?;
    let wanted = u64::from(conn_limit) + u64::from(reserved);
    if soft >= wanted {
        return Ok(soft);
    }
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return Ok(wanted);
    }
    let possible = wanted.min(hard);
    let raised = setrlimit(Resource::RLIMIT_NOFILE, possible, hard);
    match raised {
        Ok(()) if possible >= u64::from(conn_limit) => Ok(possible),
        _ => Err(ProcessError::system(
            "failed to set rlimit for open files. Try starting as root or requesting smaller \
             maxconns value",
            raised.err().map_or_else(
                || io::Error::other(format!("the hard limit is {hard}")),
                io::Error::from,
            ),
        )),
    }
}

/// Allows core files of any size, or at least of the size of the hard limit.
///
/// # Errors
///
/// [`ProcessError::System`] when the limit is still 0 afterwards, so that no core file could be
/// written at all.
pub fn allow_core_dumps() -> Result<(), ProcessError> {
    const STEP: &str = "failed to ensure corefile creation";
    let (_, hard) =
        getrlimit(Resource::RLIMIT_CORE).map_err(|error| ProcessError::system(STEP, error))?;
    if setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        setrlimit(Resource::RLIMIT_CORE, hard, hard)
            .map_err(|error| ProcessError::system(STEP, error))?;
    }
    match getrlimit(Resource::RLIMIT_CORE) {
        Ok((0, _)) => Err(ProcessError::system(STEP, io::Error::other("the hard limit is 0"))),
        Ok(_) => Ok(()),
        Err(error) => Err(ProcessError::system(STEP, error)),
    }
}

/// Keeps all memory of the process in RAM from the moment it is first used, now and later.
///
/// Call it when the item memory has been reserved: from then on each new mapping counts against
/// `RLIMIT_MEMLOCK` in full, used or not. Where that limit is in the way, all of it is in the way
/// here and now, and not later of a mapping that the server cannot do without.
///
/// # Errors
///
/// What the system said; memcached warns (`warning: -k invalid, mlockall() failed: …`) and goes
/// on.
pub fn lock_memory() -> io::Result<()> {
    let on_use = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    let all = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    mlockall(all | on_use).map_err(io::Error::from)
}

/// Whether the memory that this process may lock is limited: it is not for root, whatever the limit
/// says.
pub fn is_locking_limited() -> bool {
    let is_limited = |(soft, _)| soft != RLIM_INFINITY;
    !geteuid().is_root() && getrlimit(Resource::RLIMIT_MEMLOCK).is_ok_and(is_limited)
}

/// Whether the system gives huge pages to those who ask, and if not, why, in memcached's words.
///
/// # Errors
///
/// The text for standard error; memcached ends with exit code 1 then.
pub fn huge_pages() -> Result<(), &'static str> {
    match fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled") {
        Ok(choice) if choice.contains("[never]") => Err(HUGE_PAGES_OFF),
        Ok(_) => Ok(()),
        Err(_) => Err(NO_HUGE_PAGES),
    }
}

const HUGE_PAGES_OFF: &str = "Transparent huge pages support disabled.\n\
                              Will use default page size.\n\
                              Cannot enable large pages on this system\n\
                              (There is no support as of this version)";

const NO_HUGE_PAGES: &str = "Transparent huge pages support not detected.\n\
                             Will use default page size.\n\
                             Cannot enable large pages on this system\n\
                             (There is no support as of this version)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_and_never_lowered() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_open_files(1, 1).unwrap(), soft, "enough already");
        if hard > soft && hard < u64::from(u32::MAX) {
            let limit = u32::try_from(soft + 1).unwrap();
            assert_eq!(raise_open_files(limit, 0).unwrap(), soft + 1);
        }
        let (_, hard_after) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(hard_after >= hard);
    }

    #[test]
    fn more_files_than_the_system_has_are_refused() {
        // The kernel's bound on any process, root or not, is fs.nr_open, far below u32::MAX.
        let error = raise_open_files(u32::MAX, 0).unwrap_err();
        assert_eq!(error.exit_code(), super::super::exit::OS_ERROR);
        assert!(error.to_string().starts_with("failed to set rlimit for open files."), "{error}");
    }

    #[test]
    fn core_files_are_allowed_up_to_the_hard_limit() {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE).unwrap();
        match allow_core_dumps() {
            Ok(()) => assert!(getrlimit(Resource::RLIMIT_CORE).unwrap().0 > 0),
            Err(_) => assert_eq!(hard, 0, "only a hard limit of 0 is in the way"),
        }
    }
}
