//! Users and passwords: who may log in.
//!
//! memcached's `-Y` names a file of lines `user:password`. A password may also be kept as
//! [keys](ScramKeys) that do not log in whoever reads them:
//!
//! ```text
//!  sammy:S3cretPw
//!  eve:SCRAM-SHA-256$16384:salt$stored:server
//! ```
//!
//! [`Users`] is what such a file says;
//! [`Passwords`] is the file itself, read once and again whenever it is told to. Who asks and what
//! is answered is the protocol's business; this module only says yes or no.
//!
//! The answer takes the same time whether the user exists or not, and however much of the password
//! is right: users are found by a keyed hash, a user who does not exist has a password too (one
//! that nobody can send), and passwords are compared by [`subtle`] over their greatest length.
//! Where some users have keys, a user who does not exist costs what one of the others does.

use std::{
    collections::HashMap,
    fmt, fs,
    hash::BuildHasher,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::RwLock;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::sasl::{
    Credential, CredentialStore, Found, Name, Password, ScramKeys, Shape, is_password,
};

/// The most users a file may name. memcached takes 8 and passes over the others in silence; every
/// login costs the same here however many there are, so this only bounds the memory (64 MiB).
pub const USERS_MAX: usize = 1 << 16;

/// The longest user name, in bytes (memcached: 255 for the whole line).
pub const USER_LEN_MAX: usize = 255;

/// The longest password, in bytes: enough for the tokens that services make. Every password is
/// kept and compared at this length.
pub const PASSWORD_LEN_MAX: usize = 1024;

/// The largest file that is read, in bytes; nobody needs more for [`USERS_MAX`] users.
const FILE_LEN_MAX: u64 = 1 << 26;

/// Users and their passwords.
#[derive(Default)]
pub struct Users {
    by_name: HashMap<Box<[u8]>, Vec<Secret>>,
    /// How many lines there were.
    n_entries: usize,
    /// The kinds of entry there are.
    shapes: Found,
}

impl Users {
    /// Reads lines of the form `user:password`.
    ///
    /// The first colon ends the name, the line's end or a carriage return the password; either may
    /// be empty, and the last line needs no end. A user may have several lines: each password
    /// counts, so that one can be changed without a moment in which neither the old nor the new
    /// one works. What reads as [keys](ScramKeys) is keys.
    ///
    /// # Errors
    ///
    /// The number, from 1, of the first line that has no colon (an empty one is such a line), that
    /// is beyond [`USERS_MAX`], [`USER_LEN_MAX`] or [`PASSWORD_LEN_MAX`], or that begins as one
    /// with keys but does not go on so.
    pub fn parse(text: &[u8]) -> Result<Self, usize> {
        let mut users = Self::default();
        for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let line = line.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or(line);
            let at = line.iter().position(|byte| *byte == b':').ok_or(number)?;
            let (user, password) = (&line[..at], &line[at + 1..]);
            if users.n_entries == USERS_MAX || user.len() > USER_LEN_MAX {
                return Err(number);
            }
            let secret = match ScramKeys::parse(password).map_err(|_| number)? {
                Some(keys) => Secret::Keys(Box::new(keys)),
                None => Secret::new(password).ok_or(number)?,
            };
            users.shapes.has(secret.shape());
            users.by_name.entry(user.into()).or_default().push(secret);
            users.n_entries += 1;
        }
        Ok(users)
    }

    /// Whether this user may log in with this password. Where some users have keys, passwords are
    /// hashed for it ([`has_keys`](Self::has_keys)): not for a thread that must not wait.
    pub fn allow(&self, user: &[u8], password: &[u8]) -> bool {
        // A name that is too long is in no file, and need not be hashed.
        let known = (user.len() <= USER_LEN_MAX).then(|| self.by_name.get(user)).flatten();
        if known.is_none() && self.has_keys() {
            // The hasher's key decides which kind of user this one might be: always the same.
            return is_password(
                &[],
                self.shapes.pick(self.by_name.hasher().hash_one(user)),
                password,
            );
        }
        let secrets = known.map_or(&NOBODY_S[..], Vec::as_slice);
        // All of a user's passwords are looked at: which one it was is nobody's business either.
        let right =
            secrets.iter().fold(Choice::from(0), |right, secret| right | secret.is(password));
        right.into()
    }

    /// Whether any entry is keys, so that to check a password means to hash it: a few milliseconds.
    pub fn has_keys(&self) -> bool {
        self.shapes.has_other_than(Shape::Plain)
    }

    /// How many pairs of user and password there are.
    pub fn len(&self) -> usize {
        self.n_entries
    }

    /// Whether nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.n_entries == 0
    }
}

impl fmt::Debug for Users {
    /// Without names and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("n_entries", &self.n_entries).finish_non_exhaustive()
    }
}

impl CredentialStore for Users {
    /// Users have no realms: the name is the one that was sent. Without a password nobody logs in
    /// by SASL, so entries with an empty one do not count.
    fn find(&self, name: &Name, _: SystemTime, found: &mut Found) {
        found.has_all_of(&self.shapes);
        for secret in self.by_name.get(name.text()).into_iter().flatten() {
            let credential = match secret {
                Secret::Plain { bytes, len } => {
                    let len = usize::try_from(*len).unwrap_or(0);
                    Password::new(&bytes[..len]).map(Credential::Plain)
                }
                Secret::Keys(keys) => Some(Credential::Hashed(ScramKeys::clone(keys))),
            };
            if let Some(credential) = credential {
                found.add(credential);
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "most are the large one, and lie in a list")]
enum Secret {
    /// A password, filled up with zeros.
    Plain { bytes: [u8; PASSWORD_LEN_MAX], len: u64 },
    /// What was made of one.
    Keys(Box<ScramKeys>),
}

impl Secret {
    /// `None` for what is too long.
    fn new(password: &[u8]) -> Option<Self> {
        let mut bytes = [0; PASSWORD_LEN_MAX];
        bytes.get_mut(..password.len())?.copy_from_slice(password);
        Some(Self::Plain { bytes, len: password.len() as u64 })
    }

    /// Whether it is this one. How long that takes depends on what was sent and nothing else.
    fn is(&self, sent: &[u8]) -> Choice {
        match self {
            Self::Plain { bytes, len } => {
                let kept = sent.len().min(PASSWORD_LEN_MAX);
                let mut filled = Zeroizing::new([0; PASSWORD_LEN_MAX]);
                filled[..kept].copy_from_slice(&sent[..kept]);
                bytes.ct_eq(&*filled) & len.ct_eq(&(sent.len() as u64))
            }
            Self::Keys(keys) => Choice::from(u8::from(keys.is_password(sent))),
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Plain { .. } => Shape::Plain,
            Self::Keys(keys) => keys.shape(),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        if let Self::Plain { bytes, .. } = self {
            bytes.zeroize();
        }
    }
}

/// The password of users who do not exist: no password has this length.
static NOBODY_S: [Secret; 1] = [Secret::Plain { bytes: [0; PASSWORD_LEN_MAX], len: u64::MAX }];

/// A file of users and passwords. Clones are the same one; any thread may ask and reload.
#[derive(Clone, Debug)]
pub struct Passwords(Arc<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
}

impl Passwords {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// See [`PasswordsError`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, PasswordsError> {
        let path = path.into();
        let users = RwLock::new(Arc::new(read(&path)?));
        Ok(Self(Arc::new(File { path, users })))
    }

    /// Reads the file again. Whoever has logged in stays so; who logs in from now on is checked by
    /// what the file says now. Gives the number of entries.
    ///
    /// # Errors
    ///
    /// [`PasswordsError`]: then nothing has changed.
    pub fn reload(&self) -> Result<usize, PasswordsError> {
        let users = read(&self.0.path)?;
        let n_entries = users.len();
        *self.0.users.write() = Arc::new(users);
        Ok(n_entries)
    }

    /// Whether this user may log in with this password: [`Users::allow`], which may hash.
    pub fn allow(&self, user: &[u8], password: &[u8]) -> bool {
        self.users().allow(user, password)
    }

    /// The same for a thread that must not wait: either the answer, or the work that gives it.
    pub fn check(&self, user: &[u8], password: &[u8]) -> Check {
        let users = self.users();
        if !users.has_keys() {
            return Check::Answer(users.allow(user, password));
        }
        let password = Zeroizing::new(password.into());
        Check::Work(CheckJob { users, user: user.into(), password })
    }

    /// What the file said when it was last read.
    pub fn users(&self) -> Arc<Users> {
        Arc::clone(&self.0.users.read())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl CredentialStore for Passwords {
    fn find(&self, name: &Name, now: SystemTime, found: &mut Found) {
        self.users().find(name, now, found);
    }
}

/// Whether a user may log in, or how to find out.
#[derive(Debug)]
#[non_exhaustive]
pub enum Check {
    /// This is the answer.
    Answer(bool),
    /// A password is to be hashed first: run this where waiting is allowed.
    Work(CheckJob),
}

/// A password to be checked by hashing it. It belongs to no thread.
#[must_use = "the login waits for it"]
pub struct CheckJob {
    users: Arc<Users>,
    user: Box<[u8]>,
    password: Zeroizing<Box<[u8]>>,
}

impl CheckJob {
    /// Whether the user may log in. Takes a few milliseconds.
    #[must_use]
    pub fn run(self) -> bool {
        self.users.allow(&self.user, &self.password)
    }
}

impl fmt::Debug for CheckJob {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckJob").finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Users, PasswordsError> {
    let unreadable = |source| PasswordsError::Unreadable { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut text = Vec::new();
    // One byte more than is allowed shows that there is more.
    let mut limited = io::Read::take(file, FILE_LEN_MAX + 1);
    io::Read::read_to_end(&mut limited, &mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    Users::parse(&text).map_err(|line| PasswordsError::Malformed { path: path.to_owned(), line })
}

/// Why a file of passwords cannot be used; the messages begin with memcached's words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordsError {
    /// The system does not give its content, or it is too large.
    #[error("Could not open authfile [{}] for reading, error {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no entry.
    #[error(
        "Authfile [{}] has a malformed entry. Should be 'user:password' (line {line})",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::{ITERATIONS_MIN, ScramHash};

    fn users(text: &str) -> Users {
        Users::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn both_must_be_right() {
        let users = users("foo:bar\nbaaaz:quux\n");
        assert_eq!(users.len(), 2);
        assert!(users.allow(b"foo", b"bar") && users.allow(b"baaaz", b"quux"));
        for (user, password) in [
            ("foo", "quux"),
            ("foo", ""),
            ("foo", "ba"),
            ("foo", "barr"),
            ("foo", "bar\0"),
            ("fo", "bar"),
            ("", ""),
            ("", "bar"),
            ("nobody", ""),
        ] {
            assert!(!users.allow(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
    }

    #[test]
    fn lines_are_read_as_memcached_reads_them() {
        let users = users("a:b\r\nc:d:e f\n:g\nh:\n i : j \na:second");
        for (user, password) in
            [("a", "b"), ("c", "d:e f"), ("", "g"), ("h", ""), (" i ", " j "), ("a", "second")]
        {
            assert!(users.allow(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        assert!(Users::parse(b"").unwrap().is_empty());
        for (text, line) in [("x\n", 1), ("a:b\n\n", 2), ("a:b\n# note\nc:d", 2), ("\r:", 1)] {
            assert_eq!(Users::parse(text.as_bytes()).unwrap_err(), line, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_never_right() {
        let longest = "p".repeat(PASSWORD_LEN_MAX);
        let users = users(&format!("{}:{longest}\n", "u".repeat(USER_LEN_MAX)));
        let user = "u".repeat(USER_LEN_MAX);
        assert!(users.allow(user.as_bytes(), longest.as_bytes()));
        assert!(!users.allow(user.as_bytes(), format!("{longest}p").as_bytes()));
        assert!(!users.allow(format!("{user}u").as_bytes(), longest.as_bytes()));
        assert!(Users::parse(format!("a:{longest}p").as_bytes()).is_err());
        assert!(Users::parse(format!("{user}u:a").as_bytes()).is_err());
        let many = "u:p\n".repeat(USERS_MAX);
        assert_eq!(Users::parse(many.as_bytes()).unwrap().len(), USERS_MAX);
        assert_eq!(
            Users::parse(format!("{many}u:p").as_bytes()).unwrap_err(),
            USERS_MAX + 1,
            "one too many"
        );
    }

    #[test]
    fn a_bad_file_leaves_the_old_users() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let error = Passwords::open(&path).unwrap_err().to_string();
        assert!(error.starts_with("Could not open authfile ["), "{error}");
        fs::write(&path, "me:old\n").unwrap();
        let passwords = Passwords::open(&path).unwrap();
        let same = passwords.clone();
        for bad in ["me=new\n", "me:new\n\n"] {
            fs::write(&path, bad).unwrap();
            let error = passwords.reload().unwrap_err().to_string();
            assert!(error.contains("Should be 'user:password' (line "), "{error}");
            assert!(same.allow(b"me", b"old"));
        }
        fs::remove_file(&path).unwrap();
        assert!(passwords.reload().is_err() && same.allow(b"me", b"old"));
        fs::write(&path, "me:new\nyou:too").unwrap();
        assert_eq!(passwords.reload().unwrap(), 2);
        assert!(same.allow(b"me", b"new") && !same.allow(b"me", b"old"));
    }

    #[test]
    fn keys_stand_beside_passwords() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "me:tea\n").unwrap();
        let passwords = Passwords::open(&path).unwrap();
        assert!(matches!(passwords.check(b"me", b"tea"), Check::Answer(true)));
        let keys = ScramKeys::make(ScramHash::Sha256, b"coffee", ITERATIONS_MIN).unwrap();
        fs::write(&path, format!("me:tea\nyou:{keys}\n")).unwrap();
        assert_eq!(passwords.reload().unwrap(), 2);
        for (user, password, is_right) in [
            ("me", "tea", true),
            ("you", "coffee", true),
            ("me", "coffee", false),
            ("you", "tea", false),
            ("you", &keys.to_string(), false),
            ("nobody", "coffee", false),
            ("someone", "", false),
        ] {
            let Check::Work(job) = passwords.check(user.as_bytes(), password.as_bytes()) else {
                panic!("{user} {password}")
            };
            assert_eq!(job.run(), is_right, "{user} {password}");
            assert_eq!(passwords.allow(user.as_bytes(), password.as_bytes()), is_right);
        }
        for bad in ["me:SCRAM-SHA-256$", &format!("me:tea\nyou:{keys}x")] {
            fs::write(&path, bad).unwrap();
            let error = passwords.reload().unwrap_err().to_string();
            assert!(error.contains("Should be 'user:password' (line "), "{error}");
        }
    }

    #[test]
    fn nothing_shows_a_password() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "me:secret\n").unwrap();
        assert!(!format!("{:?}", Passwords::open(&path).unwrap()).contains("secret"));
    }
}
