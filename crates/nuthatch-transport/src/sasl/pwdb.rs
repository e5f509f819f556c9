//! The file that `MEMCACHED_SASL_PWDB` names: users and passwords in clear, one a line.
//!
//! ```text
//!  sammy@web01:S3cretPw                                 user@realm:password
//!  bob@web01:tea:whatever                               what follows another colon is ignored
//!  eve@web01:SCRAM-SHA-256$16384:salt$stored:server     keys instead of a password
//! ```
//!
//! Builds of memcached with that feature read it at every login and match it against the whole
//! name, the realm included: `sammy:x` is never found there, because memcached asks for
//! `sammy@HOST`. So here. A line that is no entry is passed over, as there. Different: lines may be
//! longer than 255 bytes, an entry with an empty password lets nobody in, and entries may be
//! [keys](super::ScramKeys).
//!
//! The file is followed: what it says counts from the next login on.

use std::{path::PathBuf, time::SystemTime};

use super::{
    keys::ScramKeys,
    names::Name,
    store::{Credential, CredentialStore, Directory, Found, Password},
};
use crate::follow::{FollowError, Followed};

/// The largest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 26;

/// A followed file of lines `user@realm:password`.
#[derive(Debug)]
pub struct PasswordDb(Followed<Directory>);

impl PasswordDb {
    /// Follows a file, which need not exist yet.
    ///
    /// `report` hears how many users there are whenever it has been read, or why it could not be:
    /// then what was read before still counts, unless the file is gone. It is called during a
    /// login, and by one thread at a time.
    pub fn follow(
        path: impl Into<PathBuf>,
        report: impl Fn(Result<usize, &FollowError>) + Send + Sync + 'static,
    ) -> Self {
        let report = move |event: Result<&Directory, &FollowError>| {
            report(event.map(Directory::len));
        };
        Self(Followed::new(path.into(), FILE_LEN_MAX, parse, Box::new(report)))
    }
}

impl CredentialStore for PasswordDb {
    fn find(&self, name: &Name, now: SystemTime, found: &mut Found) {
        let users = self.0.get(now);
        users.show(found);
        for realm in name.realms() {
            users.find(&[name.user(), b"@", realm].concat(), found);
        }
    }
}

// A `Result` because files that are followed may be bad; this one cannot be.
fn parse(text: &[u8]) -> Result<Directory, String> {
    let mut users = Directory::default();
    for line in text.split(|byte| matches!(byte, b'\r' | b'\n')) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(user), Some(rest)) = (parts.next(), parts.next()) else { continue };
        let credential = match ScramKeys::parse(rest) {
            Ok(Some(keys)) => Some(Credential::Hashed(keys)),
            Ok(None) => {
                let password = rest.split(|byte| *byte == b':').next();
                password.and_then(Password::new).map(Credential::Plain)
            }
            Err(_) => None,
        };
        if let Some(credential) = credential {
            users.add(user, credential);
        }
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::sasl::{
        ITERATIONS_MIN, ScramHash,
        names::Realms,
        store::{Shape, is_password},
    };

    #[test]
    fn the_file_is_read_as_memcached_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pwdb");
        let keys = ScramKeys::make(ScramHash::Sha256, b"hidden", ITERATIONS_MIN).unwrap();
        let text = format!(
            "alice:pw\n# note\nbob@vm:tea:ignored\r\nbob@vm:coffee\ncarl@VM:c\n\ndave@vm:\n\
             eve@vm:{keys}\nfay@vm:SCRAM-SHA-256$1:x\ngus@vm:last"
        );
        fs::write(&path, text).unwrap();
        let db = PasswordDb::follow(&path, |event| assert_eq!(event, Ok(5)));
        let allows = |user: &str, password: &str| {
            let name = Name::parse(user.as_bytes(), &Realms::named(b"VM")).unwrap();
            let mut found = Found::default();
            db.find(&name, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32), &mut found);
            is_password(&found.credentials, Shape::Plain, password.as_bytes())
        };
        for (user, password) in [
            ("bob", "tea"),
            ("bob@vm", "coffee"),
            ("carl", "c"),
            ("carl@VM", "c"),
            ("eve", "hidden"),
            ("gus", "last"),
        ] {
            assert!(allows(user, password), "{user} {password}");
        }
        for (user, password) in [
            ("alice", "pw"),
            ("bob", "tea:ignored"),
            ("bob@other", "tea"),
            ("carl@vm", "c"),
            ("dave", ""),
            ("fay", "SCRAM-SHA-256$1:x"),
            ("fay", "SCRAM-SHA-256$1"),
            ("# note", ""),
        ] {
            assert!(!allows(user, password), "{user} {password}");
        }
    }
}
