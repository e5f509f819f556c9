//! Going to the background (`-d`).
//!
//! A daemon is usually made with `fork`, which is unsafe once a runtime might exist. Here the
//! program starts itself again with the same arguments:
//!
//! ```text
//!  first process                          second process
//!  launch(): start it, keep the read      detach(): notices the variable; setsid, chdir /
//!  end of a pipe, wait ───────────────┐   limits, sockets, user, threads …
//!                                     └── ready(): one byte; standard streams to /dev/null
//!  exit code 0                            serves
//! ```
//!
//! The pipe is the second process's standard input, so no descriptor number has to be passed. If
//! it ends before the byte, its exit code becomes the first one's: what goes wrong at the start
//! (an address in use, a user who does not exist) is seen where the command was typed. memcached
//! lets go of the terminal first and fails in silence.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, getppid, setsid};

use super::{ProcessError, exit};

/// The environment variable that tells the second process what it is. Its value is the first
/// process's id: a variable that somebody else left in the environment does not fit.
const VARIABLE: &str = "NUTHATCHD_LAUNCHED_BY";

/// What to do after [`launch`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "there are two processes")]
pub enum Launch {
    /// This is the first process: the daemon is ready, or has failed. Exit with this code.
    Exit(u8),
    /// This is the daemon. Go on, and call [`Detached::ready`] when it serves.
    Go(Detached),
}

/// The daemon's side of the launch.
#[derive(Debug)]
pub struct Detached {
    /// Write end of the pipe on which the first process waits.
    pipe: File,
    /// `/dev/null`, open while files may still be opened.
    null: File,
}

/// Turns this program into a daemon.
///
/// The first process starts the program again with the same arguments and waits for it; the
/// second one, called from the same place, is made the leader of a session of its own and, unless
/// `stay` (memcached's `-r`: core files go to the working directory), moves to `/`. Relative paths
/// are therefore resolved against `/`, as in memcached.
///
/// Call it before any thread exists and before privileges or limits change.
///
/// # Errors
///
/// [`ProcessError::System`] when the program cannot be started again or no session be made.
pub fn launch(stay: bool) -> Result<Launch, ProcessError> {
    if is_second_process(env::var_os(VARIABLE)) {
        return detach(stay).map(Launch::Go);
    }
    let program =
        env::current_exe().map_err(|error| ProcessError::system("failed to daemonize", error))?;
    start_second(&program, env::args_os().skip(1), None)
        .map(Launch::Exit)
        .map_err(|error| ProcessError::system("failed to daemonize", error))
}

impl Detached {
    /// Says that the daemon serves. Unless `keep_output` (`-v`), standard output and error go to
    /// `/dev/null` from now on.
    ///
    /// # Errors
    ///
    /// [`ProcessError::System`] when the streams cannot be redirected.
    pub fn ready(self, keep_output: bool) -> Result<(), ProcessError> {
        let Self { mut pipe, null } = self;
        let redirect = || {
            dup2_stdin(null.as_fd())?;
            if !keep_output {
                dup2_stdout(null.as_fd())?;
                dup2_stderr(null.as_fd())?;
            }
            Ok(())
        };
        redirect().map_err(|error: nix::Error| {
            ProcessError::system("failed to redirect the standard streams", error)
        })?;
        // The first process may have been killed meanwhile; the daemon serves all the same.
        let _ = pipe.write_all(&[READY]);
        Ok(())
    }
}

/// Whether the variable was set by this process's parent.
fn is_second_process(value: Option<OsString>) -> bool {
    value.is_some_and(|value| value == *getppid().to_string())
}

/// Starts the second process and waits until it is ready or has ended; gives the exit code for
/// the first.
fn start_second(
    program: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    output: Option<Stdio>,
) -> io::Result<u8> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(args).env(VARIABLE, std::process::id().to_string()).stdin(writer);
    if let Some(output) = output {
        command.stdout(output);
    }
    let mut child = command.spawn()?;
    // The command holds the write end too; as long as it is open here, the pipe never ends.
    drop(command);
    let mut byte = [0];
    if matches!(reader.read(&mut byte), Ok(1)) && byte[0] == READY {
        return Ok(exit::OK);
    }
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
    // Ended without being ready: whatever it says, that is not a success.
    Ok(code.filter(|code| *code != exit::OK).unwrap_or(exit::FAILURE))
}

fn detach(stay: bool) -> Result<Detached, ProcessError> {
    let failed = |error: nix::Error| ProcessError::system("failed to daemonize", error);
    setsid().map_err(failed)?;
    if !stay {
        chdir("/").map_err(failed)?;
    }
    let pipe = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| ProcessError::system("failed to daemonize", error))?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| ProcessError::system("failed to open /dev/null", error))?;
    Ok(Detached { pipe: File::from(pipe), null })
}

/// What the daemon writes when it serves.
const READY: u8 = b'1';

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use nix::{
        sys::signal::{Signal, kill},
        unistd::{Pid, getpgrp, getpid},
    };

    use super::*;

    /// The second process of the tests below: this test binary, started with the name of this
    /// test. As an ordinary test it does nothing, because its parent set no variable.
    #[test]
    fn second_process() {
        let Some(folder) = env::var_os("NUTHATCHD_TEST_FOLDER") else { return };
        assert!(is_second_process(env::var_os(VARIABLE)));
        let folder = Path::new(&folder);
        if folder.join("fail").exists() {
            std::process::exit(71);
        }
        let Launch::Go(detached) = launch(false).unwrap() else { panic!("a third process") };
        let leader = getpgrp() == getpid();
        let cwd = env::current_dir().unwrap();
        fs::write(folder.join("daemon"), format!("{} {leader} {}", getpid(), cwd.display()))
            .unwrap();
        detached.ready(false).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }

    fn start(folder: &Path) -> u8 {
        let words: [OsString; 5] = [
            format!("NUTHATCHD_TEST_FOLDER={}", folder.display()).into(),
            env::current_exe().unwrap().into(),
            "--exact".into(),
            "process::daemon::tests::second_process".into(),
            "--nocapture".into(),
        ];
        start_second(Path::new("/usr/bin/env"), words, Some(Stdio::null())).unwrap()
    }

    #[test]
    fn the_first_process_ends_when_the_daemon_is_ready() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(start(folder.path()), exit::OK);
        let text = fs::read_to_string(folder.path().join("daemon")).unwrap();
        let mut words = text.split(' ');
        let pid: i32 = words.next().unwrap().parse().unwrap();
        assert_eq!(words.next(), Some("true"), "it leads its own session");
        assert_eq!(words.next(), Some("/"));
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn what_goes_wrong_in_the_daemon_is_the_first_process_s_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fail"), "").unwrap();
        assert_eq!(start(folder.path()), exit::OS_ERROR);
    }

    #[test]
    fn a_daemon_that_ends_before_it_is_ready_is_no_success() {
        assert_eq!(start_second(Path::new("/bin/true"), [""; 0], None).unwrap(), exit::FAILURE);
        assert!(start_second(Path::new("/no/such/program"), [""; 0], None).is_err());
    }

    #[test]
    fn a_variable_of_somebody_else_is_not_ours() {
        assert!(!is_second_process(None));
        assert!(!is_second_process(Some("1x".into())));
        assert!(is_second_process(Some(getppid().to_string().into())));
    }
}
