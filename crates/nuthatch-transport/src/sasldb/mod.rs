//! sasldb2, the database of users that cyrus-sasl's `saslpasswd2` writes, read without Berkeley DB.
//!
//! A record is one user's password, in clear:
//!
//! ```text
//!  key    sammy  0  web01  0  userPassword        user, realm, property; byte 0 between them
//!  value  S3cretPw                                the password's bytes, without an end
//! ```
//!
//! How the pairs lie in the file is the business of `pages`. Nothing is ever written.
//!
//! [`Sasldb`] follows the file: memcached with libsasl opens it for every login, so users that are
//! added, changed or removed count at once; here too, but it is read only when it has changed.
//! A file that is missing, unreadable or damaged is no reason to end, and the operator is told:
//! without it nobody can log in; while it is damaged, whoever was known before.
//!
//! Limits: files of 16 MiB (about 100 000 users), passwords of
//! [`PASSWORD_LEN_MAX`](crate::sasl::PASSWORD_LEN_MAX) bytes, keys of 64 KiB.

mod pages;

use std::{fmt, path::PathBuf, time::SystemTime};

pub use pages::PagesError;

use crate::{
    follow::Followed,
    sasl::{Credential, CredentialStore, Directory, FollowError, Found, Name, Password},
};

/// The largest file that is read, in bytes.
pub const FILE_LEN_MAX: u64 = 1 << 24;

/// The file that cyrus-sasl reads where nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/sasldb2";

/// A followed sasldb2 file.
#[derive(Debug)]
pub struct Sasldb(Followed<Database>);

impl Sasldb {
    /// Follows a file, which need not exist yet.
    ///
    /// `report` hears how many users there are whenever it has been read, or why it could not be:
    /// then what was read before still counts, unless the file is gone. It is called during a login, and by one thread at a
    /// time.
    pub fn follow(
        path: impl Into<PathBuf>,
        report: impl Fn(Result<usize, &FollowError>) + Send + Sync + 'static,
    ) -> Self {
        let report = move |event: Result<&Database, &FollowError>| {
            report(event.map(Database::len));
        };
        let parse = |bytes: &[u8]| Database::parse(bytes).map_err(|error| error.to_string());
        Self(Followed::new(path.into(), FILE_LEN_MAX, parse, Box::new(report)))
    }
}

impl CredentialStore for Sasldb {
    fn find(&self, name: &Name, now: SystemTime, found: &mut Found) {
        let database = self.0.get(now);
        database.0.show(found);
        for realm in name.realms() {
            database.0.find(&key(name.user(), realm), found);
        }
    }
}

/// What a sasldb2 file holds.
#[derive(Default)]
pub struct Database(Directory);

impl Database {
    /// Reads a file's bytes.
    ///
    /// Records of other properties than `userPassword`, and keys that are no sasldb2 keys, are
    /// passed over; so are passwords that are empty or longer than
    /// [`PASSWORD_LEN_MAX`](crate::sasl::PASSWORD_LEN_MAX).
    ///
    /// # Errors
    ///
    /// [`PagesError`]: the file is of another kind, or damaged.
    pub fn parse(file: &[u8]) -> Result<Self, PagesError> {
        let mut users = Directory::default();
        pages::pairs(file, |record, password| {
            let name = record.strip_suffix(b"\0userPassword");
            let name = name.filter(|name| name.iter().filter(|byte| **byte == 0).count() == 1);
            if let (Some(name), Some(password)) = (name, Password::new(password)) {
                users.add(name, Credential::Plain(password));
            }
        })?;
        Ok(Self(users))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every user and realm, in no order.
    pub fn users(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.names().map(|name| {
            let at = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            (&name[..at], name.get(at + 1..).unwrap_or_default())
        })
    }
}

impl fmt::Debug for Database {
    /// Without names and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("n_users", &self.len()).finish_non_exhaustive()
    }
}

fn key(user: &[u8], realm: &[u8]) -> Vec<u8> {
    [user, b"\0", realm].concat()
}

#[cfg(test)]
pub(crate) use pages::tests::Writer;

#[cfg(test)]
mod tests;
