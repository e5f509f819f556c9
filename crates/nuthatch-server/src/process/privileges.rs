//! Giving up system calls (`-o drop_privileges`).
//!
//! A server that is up needs few of them: it reads, writes, accepts, waits, and takes and gives
//! memory back. Everything that would make a hole in it worth something to somebody else (opening
//! files, connecting out, starting programs, mapping code) it can do without. [`give_up`] tells the
//! kernel so, for every thread at once and for good:
//!
//! | what is tried | what comes of it |
//! |---|---|
//! | what serving needs | it works |
//! | opening or looking at files, asking for limits | an error, because libraries do so on the way to something else and manage without |
//! | anything else: sockets, connections, programs, processes, debugging | the process ends at once (`SIGSYS`), and the kernel's log names the call |
//!
//! In the kernel's log that is a line `type=1326 … exe="/usr/bin/nuthatchd" … syscall=41`; `ausyscall 41` or
//! the C headers say which call has that number. memcached has a handler that writes such a line
//! itself; a handler is code that still runs in a process that is not to be trusted any more.
//!
//! The filter stays as small as the options allow: with `-Y` files may be opened for reading, so
//! that SIGHUP can read the passwords again, with `-S` also looked at, and with `-P` also removed.
//!
//! There is a filter for Linux on x86-64 and 64-bit ARM; see [`IS_SUPPORTED`].

use super::ProcessError;

/// What a server will still want to do with files.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Keep {
    /// Open files to read.
    pub reading: bool,
    /// Remove files, by which it opens them to read first.
    pub removing: bool,
    /// Look whether files have changed, and read them again.
    pub following: bool,
}

impl Keep {
    /// Nothing.
    pub const NOTHING: Self = Self { reading: false, removing: false, following: false };

    /// Adds opening files to read.
    #[must_use]
    pub fn reading(mut self, keep: bool) -> Self {
        self.reading |= keep;
        self
    }

    /// Adds looking at files, and opening them to read.
    #[must_use]
    pub fn following(mut self, keep: bool) -> Self {
        self.following |= keep;
        self.reading |= keep;
        self
    }

    /// Adds removing files.
    #[must_use]
    pub fn removing(mut self, keep: bool) -> Self {
        self.removing |= keep;
        self.reading |= keep;
        self
    }
}

/// Whether there is a filter for this system.
pub const IS_SUPPORTED: bool =
    cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));

/// Gives up all system calls that serving does not need, for all threads that there are and will
/// be. There is no way back. Call it when all listeners, threads and runtimes are there.
///
/// # Errors
///
/// [`ProcessError::System`] where the kernel takes no such filter: one without the feature, or a
/// sandbox that has it for itself.
pub fn give_up(keep: Keep) -> Result<(), ProcessError> {
    filter::apply(keep).map_err(|error| ProcessError::system("failed to drop privileges", error))
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod filter {
    use std::io;

    pub(super) fn apply(_: super::Keep) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod filter {
    use std::{collections::BTreeMap, env::consts::ARCH, io};

    use nix::{libc, unistd::getpid};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter_all_threads,
    };

    use super::Keep;

    /// System calls, and under which conditions on their arguments one of which must hold; none is
    /// always.
    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Applies the filters. The kernel asks all of them and does the worst that one says: what gets
    /// an error has to be let through by the last one, which ends the process.
    pub(super) fn apply(keep: Keep) -> io::Result<()> {
        use SeccompAction::{Allow, Errno, KillProcess};
        let denied = denied(keep)?;
        let mut known = allowed(keep)?;
        known.extend(denied.keys().chain(ABSENT).map(|call| (*call, Vec::new())));
        let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
        install(absent, Errno(libc::ENOSYS.unsigned_abs()), Allow)?;
        install(denied, Errno(libc::EPERM.unsigned_abs()), Allow)?;
        install(known, Allow, KillProcess)
    }

    /// Has the kernel do one thing with the calls of `rules`, and another with all others.
    fn install(rules: Rules, with_them: SeccompAction, others: SeccompAction) -> io::Result<()> {
        let arch = ARCH.try_into().map_err(io::Error::other)?;
        let filter =
            SeccompFilter::new(rules, others, with_them, arch).map_err(io::Error::other)?;
        let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
        apply_filter_all_threads(&program).map_err(io::Error::other)
    }

    /// What serving needs.
    fn allowed(keep: Keep) -> io::Result<Rules> {
        let mut rules: Rules = ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
        let no_code = || rule([bits(2, libc::PROT_EXEC, 0)?]);
        let conditional = [
            // Threads, not processes.
            (libc::SYS_clone, rule([bits(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?])?),
            (libc::SYS_mmap, no_code()?),
            (libc::SYS_mprotect, no_code()?),
            // What `abort` does.
            (libc::SYS_tgkill, rule([compare(0, SeccompCmpOp::Eq, getpid().as_raw())?])?),
        ];
        rules.extend(conditional.into_iter().map(|(call, rule)| (call, vec![rule])));
        if keep.removing {
            rules.extend(REMOVING.iter().map(|call| (*call, Vec::new())));
        }
        if keep.following {
            rules.extend(LOOKING.iter().map(|call| (*call, Vec::new())));
        }
        Ok(rules)
    }

    /// What gets an error.
    fn denied(keep: Keep) -> io::Result<Rules> {
        use SeccompCmpOp::Ne;
        let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
        if !keep.following {
            rules.extend(LOOKING.iter().map(|call| (*call, Vec::new())));
        }
        let others = |argument, ok: &[i32]| -> io::Result<Vec<SeccompRule>> {
            let each = ok.iter().map(|value| compare(argument, Ne, *value));
            Ok(vec![rule(each.collect::<io::Result<Vec<_>>>()?)?])
        };
        rules.insert(libc::SYS_ioctl, others(1, &[FIONBIO])?);
        // The name of a new thread and of its memory; and what these filters themselves begin with.
        rules.insert(
            libc::SYS_prctl,
            others(0, &[libc::PR_SET_NAME, libc::PR_SET_VMA, libc::PR_SET_NO_NEW_PRIVS])?,
        );
        // Limits may be read and not set.
        rules.insert(libc::SYS_prlimit64, others(2, &[0])?);
        // `argument` has the flags; all opening is denied, or what would write.
        let opening = |argument| -> io::Result<Vec<SeccompRule>> {
            let to_write = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];
            let writing = to_write.iter().filter(|_| keep.reading);
            writing.map(|flag| rule([bits(argument, *flag, *flag)?])).collect()
        };
        rules.insert(libc::SYS_openat, opening(2)?);
        // The C library of static programs has the old call.
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, opening(1)?);
        Ok(rules)
    }

    fn rule(conditions: impl Into<Vec<SeccompCondition>>) -> io::Result<SeccompRule> {
        SeccompRule::new(conditions.into()).map_err(io::Error::other)
    }

    /// A condition on the lower half of an argument, which is all of it for what is an `int` in C.
    fn compare(argument: u8, how: SeccompCmpOp, value: i32) -> io::Result<SeccompCondition> {
        let value = u64::from(value.cast_unsigned());
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value)
            .map_err(io::Error::other)
    }

    /// The condition that the bits of `mask` are those of `value`.
    fn bits(argument: u8, mask: i32, value: i32) -> io::Result<SeccompCondition> {
        compare(argument, SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned())), value)
    }

    /// Makes a socket blocking or not.
    const FIONBIO: i32 = 0x5421;

    /// Always allowed.
    const ALWAYS: &[i64] = &[
        // Connections that there are, and those that listeners give.
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_shutdown,
        libc::SYS_close,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_fcntl,
        libc::SYS_fstat,
        libc::SYS_lseek,
        // Waiting.
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_futex,
        libc::SYS_ppoll,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        // Memory.
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_mremap,
        libc::SYS_msync,
        // A page that is given back under `-k`.
        libc::SYS_munlock,
        libc::SYS_munmap,
        // Threads that begin and end, and signals.
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rseq,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_set_robust_list,
        libc::SYS_sigaltstack,
        // Time, chance, and what the process is.
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_gettimeofday,
        libc::SYS_getrandom,
        libc::SYS_getcpu,
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_getrusage,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_sched_getaffinity,
        libc::SYS_sysinfo,
        libc::SYS_uname,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_arch_prctl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_time,
    ];

    /// Allowed where files are to be removed.
    const REMOVING: &[i64] = &[
        libc::SYS_unlinkat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink,
    ];

    /// Answered with an error, whatever the arguments.
    const DENIED: &[i64] = &[
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_getcwd,
        libc::SYS_openat2,
        libc::SYS_readlinkat,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_setpriority,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_access,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_getrlimit,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lstat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
    ];

    /// Allowed where files are followed, else answered with an error.
    const LOOKING: &[i64] = &[
        libc::SYS_newfstatat,
        libc::SYS_statx,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat,
    ];

    /// Answered as by a kernel that does not have it. The flags of `clone3` are where no filter can
    /// read them; the C library takes `clone` then.
    const ABSENT: &[i64] = &[libc::SYS_clone3];
}
