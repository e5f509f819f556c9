//! The pid file (`-P`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// A pid file that this process wrote; it is removed when dropped.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    pid: u32,
}

impl PidFile {
    /// Writes this process's id, and gives a warning where the file named another process that
    /// still runs.
    ///
    /// The file appears with its content: it is written under another name and then renamed, so
    /// that nobody reads it half.
    ///
    /// # Errors
    ///
    /// What the system said; the message names the file. memcached prints it and serves all the
    /// same.
    pub fn write(path: &Path) -> io::Result<(Self, Option<String>)> {
        let pid = std::process::id();
        let warning = running(path).filter(|running| *running != pid).map(|running| {
            format!("WARNING: The pid file contained the following (running) pid: {running}")
        });
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let named = |error: io::Error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("could not write the pid file {path}: {error}"))
        };
        fs::write(&temporary, format!("{pid}\n")).map_err(named)?;
        fs::rename(&temporary, path).map_err(named)?;
        Ok((Self { path: path.to_owned(), pid }, warning))
    }
}

impl Drop for PidFile {
    /// Removes the file, unless another process has written its own id there meanwhile. Without
    /// daemon mode memcached leaves the file behind; nobody needs one that names no process.
    fn drop(&mut self) {
        if read(&self.path) == Some(self.pid) {
            // Nobody is left to act on an error.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The id in a pid file.
fn read(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()
}

/// The id in a pid file, if a process has it.
fn running(path: &Path) -> Option<u32> {
    let pid = read(path).filter(|pid| *pid > 0)?;
    match kill(Pid::from_raw(i32::try_from(pid).ok()?), None) {
        // It runs, though it is another user's.
        Ok(()) | Err(Errno::EPERM) => Some(pid),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_pid_and_goes_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nuthatchd.pid");
        let (file, warning) = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(warning, None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_running_process_in_it_gives_a_warning_and_a_dead_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let parent = nix::unistd::getppid();
        fs::write(&path, format!("{parent}\n")).unwrap();
        let (_file, warning) = PidFile::write(&path).unwrap();
        assert_eq!(
            warning,
            Some(format!("WARNING: The pid file contained the following (running) pid: {parent}"))
        );

        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        for stale in [child.id().to_string(), "0".to_owned(), "junk".to_owned(), String::new()] {
            fs::write(&path, &stale).unwrap();
            assert_eq!(PidFile::write(&path).unwrap().1, None, "{stale:?}");
        }
    }

    #[test]
    fn another_process_s_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let (file, _) = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }

    #[test]
    fn an_error_names_the_file() {
        let error = PidFile::write(Path::new("/no/such/folder/pid")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/pid"), "{error}");
    }
}
