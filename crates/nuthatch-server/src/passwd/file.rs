//! Changing a file of users and passwords that a server may read at any moment, and another
//! administrator change at the same time.
//!
//! The new content is written to a file beside the old one, with its owner and mode, and put in its
//! place when it is safe on the disk: whoever reads sees the old one or the new one. The old one is
//! locked meanwhile; whoever waited for that lock finds that its file has been replaced, and begins
//! again with the new one. A symbolic link stays one: the file that it leads to is replaced.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nuthatch_transport::passwords::Users;

/// What becomes of a user's entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// The new one stands for all of them.
    Replace,
    /// The new one comes to them.
    Add,
    /// They go.
    Remove,
}

/// What has been done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Done {
    /// There was no file.
    Made,
    /// The user had no entry, or keeps it.
    Added,
    Replaced,
    Removed,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{}: {source}", path.display())]
    System { path: PathBuf, source: io::Error },
    #[error("{}: not a file", path.display())]
    NoFile { path: PathBuf },
    #[error("{}: line {line} is no entry of the form user:password; nothing is changed", path.display())]
    Malformed { path: PathBuf, line: usize },
    #[error("{}: too many users; nothing is changed", path.display())]
    Full { path: PathBuf },
    #[error("{}: has no entry of that user", path.display())]
    NoEntry { path: PathBuf },
    #[error("{}: others change it all the time", path.display())]
    Busy { path: PathBuf },
}

/// The mode of a file that is made here: it holds what others need not see.
const NEW_MODE: u32 = 0o600;

/// How often to begin again because somebody else was first.
const ATTEMPTS_MAX: usize = 100;

/// Changes the entries of a user in a file; `line` is the new one with its end.
pub(super) fn change(
    path: &Path,
    user: &str,
    change: Change,
    line: &str,
) -> Result<Done, FileError> {
    let system = |source| FileError::System { path: path.to_owned(), source };
    for _ in 0..ATTEMPTS_MAX {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound && change != Change::Remove => {
                match make(path, line) {
                    Err(error) if is_there(&error) && fs::metadata(path).is_ok() => continue,
                    made => return made.map(|()| Done::Made).map_err(system),
                }
            }
            Err(error) => return Err(system(error)),
        };
        match change_existing(&target, user, change, line)? {
            Some(done) => return Ok(done),
            None => continue,
        }
    }
    Err(FileError::Busy { path: path.to_owned() })
}

fn is_there(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AlreadyExists
}

fn make(path: &Path, line: &str) -> io::Result<()> {
    let new = written(path, line.as_bytes(), None)?;
    new.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// `None` if the file is another one by now.
fn change_existing(
    path: &Path,
    user: &str,
    change: Change,
    line: &str,
) -> Result<Option<Done>, FileError> {
    let owned = || path.to_owned();
    let system = |source| FileError::System { path: owned(), source };
    if !fs::metadata(path).map_err(system)?.is_file() {
        return Err(FileError::NoFile { path: owned() });
    }
    let mut old = File::open(path).map_err(system)?;
    old.lock().map_err(system)?;
    let about = old.metadata().map_err(system)?;
    match fs::metadata(path) {
        Ok(now) if (now.dev(), now.ino()) == (about.dev(), about.ino()) => {}
        _ => return Ok(None),
    }
    let mut text = Vec::new();
    old.read_to_end(&mut text).map_err(system)?;
    Users::parse(&text).map_err(|line| FileError::Malformed { path: owned(), line })?;
    let (text, n_found) = changed(&text, user, change, line);
    let done = match (change, n_found) {
        (Change::Remove, 0) => return Err(FileError::NoEntry { path: owned() }),
        (Change::Remove, _) => Done::Removed,
        (Change::Replace, 1..) => Done::Replaced,
        (Change::Replace, 0) | (Change::Add, _) => Done::Added,
    };
    // What is read again may have become too much.
    Users::parse(&text).map_err(|_| FileError::Full { path: owned() })?;
    let new = written(path, &text, Some(&about)).map_err(system)?;
    new.persist(path).map_err(|error| system(error.error))?;
    sync_folder(path).map_err(system)?;
    Ok(Some(done))
}

/// The text with a user's entries changed, and how many there were. Every other line stays as it is
/// and where it is.
fn changed(text: &[u8], user: &str, change: Change, new: &str) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(text.len() + new.len() + 1);
    let mut n_found = 0;
    let mut is_in = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let is_user_s =
            line.strip_prefix(user.as_bytes()).is_some_and(|rest| rest.starts_with(b":"));
        n_found += usize::from(is_user_s);
        if is_user_s && change == Change::Replace && !is_in {
            out.extend_from_slice(new.as_bytes());
            is_in = true;
        }
        if !is_user_s || change == Change::Add {
            out.extend_from_slice(line);
        }
    }
    if change != Change::Remove && !is_in {
        if !out.is_empty() && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        out.extend_from_slice(new.as_bytes());
    }
    (out, n_found)
}

/// A file beside the path, whose content is safe on the disk, with the owner and mode of the one
/// that it is to replace.
fn written(
    path: &Path,
    text: &[u8],
    like: Option<&fs::Metadata>,
) -> io::Result<tempfile::NamedTempFile> {
    let mut new = tempfile::Builder::new()
        .prefix(".nuthatchd-passwd")
        .permissions(Permissions::from_mode(NEW_MODE))
        .tempfile_in(folder(path))?;
    new.write_all(text)?;
    if let Some(like) = like {
        let about = new.as_file().metadata()?;
        if (about.uid(), about.gid()) != (like.uid(), like.gid()) {
            fchown(new.as_file(), Some(like.uid()), Some(like.gid()))?;
        }
        new.as_file().set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    }
    new.as_file().sync_all()?;
    Ok(new)
}

/// Makes sure that a name is on the disk too.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::thread;

    use super::*;

    fn put(path: &Path, user: &str, what: Change) -> Result<Done, FileError> {
        change(path, user, what, &format!("{user}:new\n"))
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let text = b"a:1\nsam:2\r\nb:3\nsam:4\nsammy:5";
        for (user, change, expected, n_expected) in [
            ("sam", Change::Replace, "a:1\nnew\nb:3\nsammy:5", 2),
            ("sam", Change::Add, "a:1\nsam:2\r\nb:3\nsam:4\nsammy:5\nnew\n", 2),
            ("sam", Change::Remove, "a:1\nb:3\nsammy:5", 2),
            ("sammy", Change::Replace, "a:1\nsam:2\r\nb:3\nsam:4\nnew\n", 1),
            ("eve", Change::Replace, "a:1\nsam:2\r\nb:3\nsam:4\nsammy:5\nnew\n", 0),
            ("eve", Change::Remove, "a:1\nsam:2\r\nb:3\nsam:4\nsammy:5", 0),
        ] {
            let (out, n_found) = changed(text, user, change, "new\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{user} {change:?}");
            assert_eq!(n_found, n_expected, "{user} {change:?}");
        }
        assert_eq!(changed(b"", "a", Change::Replace, "a:b\n").0, b"a:b\n");
    }

    #[test]
    fn a_file_is_made_and_changed_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        assert_eq!(put(&path, "a", Change::Replace).unwrap(), Done::Made);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), NEW_MODE);

        // Through a link, with a mode of its own.
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        symlink("users", &link).unwrap();
        assert_eq!(put(&link, "b", Change::Replace).unwrap(), Done::Added);
        assert_eq!(put(&link, "a", Change::Replace).unwrap(), Done::Replaced);
        assert_eq!(put(&link, "a", Change::Remove).unwrap(), Done::Removed);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!((mode(&path), fs::read_to_string(&path).unwrap()), (0o640, "b:new\n".into()));

        let n_files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(n_files, 2, "nothing is left behind");
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        assert!(matches!(put(&path, "a", Change::Remove), Err(FileError::System { .. })));
        assert!(!path.exists());
        fs::write(&path, "b:1\nnothing\n").unwrap();
        for what in [Change::Replace, Change::Add, Change::Remove] {
            let error = put(&path, "b", what).unwrap_err();
            assert!(matches!(error, FileError::Malformed { line: 2, .. }), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "b:1\nnothing\n");
        fs::write(&path, "b:1\n").unwrap();
        assert!(matches!(put(&path, "a", Change::Remove), Err(FileError::NoEntry { .. })));
        let error = put(folder.path(), "a", Change::Add).unwrap_err();
        assert!(matches!(error, FileError::NoFile { .. }), "{error}");
        let dangling = folder.path().join("dangling");
        symlink("nowhere", &dangling).unwrap();
        assert!(matches!(put(&dangling, "a", Change::Add), Err(FileError::System { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || put(path, &format!("user{n}"), Change::Replace).unwrap());
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert!((0..8).all(|n| text.contains(&format!("user{n}:new\n"))), "{text}");
        assert_eq!(text.lines().count(), 8);
    }
}
