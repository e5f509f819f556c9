//! Files that are followed: read once, and again whenever they change.
//!
//! Whoever needs the content asks for it and gives the time. Whether the file is still the same is
//! asked of the system each time (one `stat`, 1 to 2 µs): a user who has just been added can log in
//! at once, as with memcached, which reads the whole file for every login. What costs is the
//! reading, so that happens
//!
//! - when the file's device, inode, length or time of change is another one;
//! - while its last change is younger than [`YOUNG`], at most once in [`REREAD_EVERY`]: two changes
//!   within one tick of the file system's clock look like one;
//! - when it could not be read or understood, at most once in [`REREAD_EVERY`], or at once when it
//!   changes: a file may be caught while somebody writes it.
//!
//! What was last understood stays in force while the file cannot be understood, until there is
//! something better. A file that is gone, or that may no longer be read, says nothing: an operator
//! who takes a list of users away means it, and memcached would let nobody in either.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use zeroize::Zeroizing;

/// How long after its last change a file may change again without looking changed. File systems
/// keep times to a few milliseconds, some old ones to 2 s.
const YOUNG: Duration = Duration::from_secs(2);

/// How often at most a file is read that looks unchanged.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// How a file's content becomes something.
pub(crate) type Parse<T> = fn(&[u8]) -> Result<T, String>;

/// Hears whenever a file has been read: what it holds is in force, or why what was there before
/// still is. The same trouble is told once, not at every try.
pub(crate) type Report<T> = Box<dyn Fn(Result<&T, &FollowError>) + Send + Sync>;

/// Why a file's content is not in force.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct FollowError {
    path: PathBuf,
    why: String,
}

impl FollowError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A file and what it says.
pub(crate) struct Followed<T> {
    path: PathBuf,
    len_max: u64,
    parse: Parse<T>,
    report: Report<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// What the file was like when it was last read, with success or without.
    seen: Option<Stamp>,
    read_at: Option<SystemTime>,
    trouble: Option<FollowError>,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T: Default> Followed<T> {
    /// Follows a file that need not exist: while it does not, there is the default.
    ///
    /// A file longer than `len_max` bytes is not read.
    pub(crate) fn new(path: PathBuf, len_max: u64, parse: Parse<T>, report: Report<T>) -> Self {
        let value = Arc::default();
        let state = Mutex::new(State { value, seen: None, read_at: None, trouble: None });
        Self { path, len_max, parse, report, state }
    }

    /// What the file says now. May read it: not for a thread that must not wait.
    pub(crate) fn get(&self, now: SystemTime) -> Arc<T> {
        // Others wait while one reads, which is what they would have to do in any case.
        let mut state = self.state.lock();
        let file = fs::metadata(&self.path);
        let stamp = file.as_ref().ok().map(Stamp::of);
        if state.is_fresh(stamp, now) {
            return Arc::clone(&state.value);
        }
        // Asked before it is opened too: opening a pipe would wait for somebody to write to it.
        let read = file.and_then(|about| expect_file(&about)).and_then(|()| self.read());
        let is_gone = read.as_ref().is_err_and(|error| is_gone(error.kind()));
        let parsed = read.map_err(|error| error.to_string()).and_then(|(bytes, stamp)| {
            state.seen = Some(stamp);
            (self.parse)(&bytes)
        });
        state.read_at = Some(now);
        match parsed {
            Ok(value) => {
                state.value = Arc::new(value);
                state.trouble = None;
                (self.report)(Ok(&state.value));
            }
            Err(why) => {
                state.seen = stamp;
                if is_gone {
                    state.value = Arc::default();
                }
                let trouble = FollowError { path: self.path.clone(), why };
                if state.trouble.as_ref() != Some(&trouble) {
                    (self.report)(Err(&trouble));
                    state.trouble = Some(trouble);
                }
            }
        }
        Arc::clone(&state.value)
    }

    /// The content, and the stamp of the very file that it came from.
    fn read(&self) -> io::Result<(Zeroizing<Vec<u8>>, Stamp)> {
        let file = fs::File::open(&self.path)?;
        let about = file.metadata()?;
        expect_file(&about)?;
        let stamp = Stamp::of(&about);
        if stamp.len > self.len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = usize::try_from(stamp.len).unwrap_or(0) + 1;
        // Reserved at once: growing would leave pieces of passwords behind in freed memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        io::Read::read_to_end(&mut io::Read::take(file, self.len_max + 1), &mut bytes)?;
        if bytes.len() as u64 > self.len_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok((bytes, stamp))
    }
}

fn expect_file(about: &fs::Metadata) -> io::Result<()> {
    if about.is_file() { Ok(()) } else { Err(io::Error::other("not a file")) }
}

/// Whether somebody has taken the file away, rather than that reading it failed for the moment.
fn is_gone(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T> State<T> {
    fn is_fresh(&self, stamp: Option<Stamp>, now: SystemTime) -> bool {
        let Some(read_at) = self.read_at else { return false };
        if stamp != self.seen {
            return false;
        }
        let is_young = stamp.is_some_and(|stamp| stamp.is_young(read_at));
        // A clock that was set back makes the file old, not fresh for ever.
        let is_recent = now.duration_since(read_at).is_ok_and(|age| age < REREAD_EVERY);
        is_recent || !(is_young || self.trouble.is_some())
    }
}

impl Stamp {
    pub(crate) fn of(about: &fs::Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            len: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether, when it was read, the last change was so recent that another may have followed
    /// unseen. The inode's own time is asked: it cannot be set by hand.
    fn is_young(&self, read_at: SystemTime) -> bool {
        let (secs, nanos) = self.changed;
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(u64::try_from(secs).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
        read_at.duration_since(changed).map_or(true, |age| age < YOUNG)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::FileTimes,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    static N_READS: AtomicUsize = AtomicUsize::new(0);

    fn number(bytes: &[u8]) -> Result<u32, String> {
        N_READS.fetch_add(1, Relaxed);
        std::str::from_utf8(bytes).unwrap().trim().parse().map_err(|_| "no number".to_owned())
    }

    #[test]
    fn a_file_is_read_when_it_changes_and_the_old_kept_when_it_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let told = Arc::new(Mutex::new(Vec::new()));
        let report = {
            let (told, folder) = (Arc::clone(&told), folder.path().display().to_string());
            move |event: Result<&u32, &FollowError>| {
                told.lock().push(event.map_or_else(
                    |error| error.to_string().replace(&folder, ""),
                    ToString::to_string,
                ));
            }
        };
        let followed = Followed::new(path.clone(), 8, number, Box::new(report));
        let told = move || std::mem::take(&mut *told.lock());
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let at = |ms: u64| start + Duration::from_millis(ms);

        assert_eq!(*followed.get(at(0)), 0);
        assert_eq!(told(), ["/number: No such file or directory (os error 2)"]);
        assert_eq!((*followed.get(at(1)), told().len()), (0, 0), "trouble is told once");
        fs::write(&path, "1").unwrap();
        assert_eq!(*followed.get(at(2)), 1, "a change counts at once");
        assert_eq!(told(), ["1"]);
        fs::write(&path, "22").unwrap();
        assert_eq!(*followed.get(at(3)), 22);
        fs::write(&path, "x").unwrap();
        assert_eq!(*followed.get(at(4)), 22);
        assert_eq!(told(), ["22", "/number: no number"]);
        let n_reads = N_READS.load(Relaxed);
        assert_eq!(*followed.get(at(1003)), 22);
        assert_eq!(N_READS.load(Relaxed), n_reads, "bad files are tried again after a second");
        assert_eq!(*followed.get(at(1004)), 22);
        assert_eq!(N_READS.load(Relaxed), n_reads + 1);
        fs::write(&path, "123456789").unwrap();
        assert_eq!(*followed.get(at(1005)), 22);
        assert_eq!(told(), ["/number: file too large"]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(*followed.get(at(1006)), 22);
        assert_eq!(told(), ["/number: not a file"]);
        fs::remove_dir(&path).unwrap();
        assert_eq!(*followed.get(at(1007)), 0, "a file that is gone says nothing");
        assert_eq!(told(), ["/number: No such file or directory (os error 2)"]);
        fs::write(&path, "3").unwrap();
        assert_eq!((*followed.get(at(1007)), told()), (3, vec!["3".to_owned()]));

        // Read long after its last change: nothing more to read, whatever the time.
        let n_reads = N_READS.load(Relaxed);
        for ms in [1008, 9000, 0] {
            assert_eq!(*followed.get(at(ms)), 3);
        }
        assert_eq!(N_READS.load(Relaxed), n_reads);
    }

    #[test]
    fn a_young_file_may_have_changed_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let followed = Followed::new(path.clone(), 8, |b| Ok(b.to_vec()), Box::new(|_| {}));
        let about = fs::metadata(&path).unwrap();
        let written = SystemTime::UNIX_EPOCH
            + Duration::new(
                about.ctime().cast_unsigned(),
                u32::try_from(about.ctime_nsec()).unwrap(),
            );
        assert_eq!(*followed.get(written), b"1");
        // The same length and time; what tells is that the state remembers another stamp, so that
        // is made the same too.
        fs::write(&path, "2").unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(about.modified().unwrap())).unwrap();
        let now = Stamp::of(&fs::metadata(&path).unwrap());
        followed.state.lock().seen = Some(now);
        assert_eq!(*followed.get(written + Duration::from_millis(999)), b"1");
        assert_eq!(*followed.get(written + Duration::from_secs(1)), b"2");
    }
}
