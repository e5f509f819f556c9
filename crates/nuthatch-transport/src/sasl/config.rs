//! What the operator says about logins: `memcached.conf` of cyrus-sasl.
//!
//! ```text
//!  # /etc/sasl2/memcached.conf
//!  mech_list: plain scram-sha-256      names, in the order in which clients are told
//!  sasldb_path: /etc/sasl2/memcached-sasldb2
//!  log_level: 5                        0 to 7
//!  pwcheck_method: auxprop             the only one there is here
//!  auxprop_plugin: sasldb              the only one there is here
//! ```
//!
//! The syntax is that of cyrus-sasl 2.1.28 (tried): space before a line is dropped; empty lines and
//! those that begin with `#` say nothing; a key is letters, digits, `-` and `_` in either case,
//! with a colon right behind it; the value is the rest of the line without the space around it,
//! and may not be empty; of several lines with one key the first counts; keys that nobody knows
//! are ignored. Any other line is an error, and memcached does not start with it.
//!
//! Here, unlike there: values that would have an effect which cannot be had (`saslauthd`, `ldapdb`,
//! `sql`) are errors too, instead of logins that all fail; and without `mech_list` clients are
//! offered [`Mechanism::DEFAULT`], not everything that is installed, `ANONYMOUS` included.
//!
//! # Where the file is
//!
//! `SASL_CONF_PATH` names its folder, or several separated by colons, of which the first that has
//! a `memcached.conf` counts; a part may also be the file itself. Without that, the first of these
//! that exists: `/etc/sasl/memcached.conf/memcached.conf`, `/etc/sasl/memcached.conf`,
//! `/etc/sasl2/memcached.conf/memcached.conf`, `/etc/sasl2/memcached.conf`.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Authenticator, Builder, FollowError, Mechanism, pwdb::PasswordDb, store::CredentialStore,
};
use crate::sasldb::{self, Sasldb};

/// The longest line, in bytes (cyrus-sasl's limit).
const LINE_LEN_MAX: usize = 4096;

/// The largest file, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

const FILE_NAME: &str = "memcached.conf";

/// What `memcached.conf` says.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// `mech_list`: what is offered, in this order. Names that are unknown are left out.
    pub mechanisms: Vec<Mechanism>,
    /// `sasldb_path`: the database of users.
    pub sasldb_path: PathBuf,
    /// `log_level`: 0 nothing, 1 errors, 2 failed logins, up to 7; how cyrus-sasl numbers them.
    pub log_level: u8,
}

impl Default for Config {
    /// What counts where nothing is said.
    fn default() -> Self {
        Self {
            mechanisms: Mechanism::DEFAULT.to_vec(),
            sasldb_path: sasldb::DEFAULT_PATH.into(),
            log_level: 1,
        }
    }
}

impl Config {
    /// Reads the file that was [located](Located).
    ///
    /// # Errors
    ///
    /// [`ConfigError`], with the file, and the line if it is one line's fault.
    pub fn read(located: &Located) -> Result<Self, ConfigError> {
        let Some(file) = &located.file else { return Ok(Self::default()) };
        let failed = |source| ConfigError::Unreadable { path: file.clone(), source };
        let mut text = Vec::new();
        let opened = fs::File::open(file).map_err(failed)?;
        opened.take(FILE_LEN_MAX + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_LEN_MAX {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&text).map_err(|(line, what)| ConfigError::Line {
            path: file.clone(),
            line,
            what,
        })
    }

    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// The number, from 1, of the first line that is wrong, and what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, (usize, &'static str)> {
        let (mut config, mut seen) = (Self::default(), Vec::new());
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            if line.len() > LINE_LEN_MAX {
                return Err((number, "the line is longer than 4096 bytes"));
            }
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let is_of_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            let end = line.iter().position(|byte| !is_of_key(byte)).unwrap_or(line.len());
            let key = line[..end].to_ascii_lowercase();
            let value = line[end..].strip_prefix(b":").map(<[u8]>::trim_ascii);
            let value = value.filter(|value| !key.is_empty() && !value.is_empty());
            let value = value.ok_or((number, "should be 'key: value'"))?;
            if !seen.contains(&key) {
                config.set(&key, value).map_err(|what| (number, what))?;
                seen.push(key);
            }
        }
        Ok(config)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match key {
            b"mech_list" => {
                self.mechanisms.clear();
                for mechanism in words.filter_map(Mechanism::parse) {
                    if !self.mechanisms.contains(&mechanism) {
                        self.mechanisms.push(mechanism);
                    }
                }
                if self.mechanisms.is_empty() {
                    return Err("mech_list names no mechanism that exists here: there are \
                                SCRAM-SHA-256, SCRAM-SHA-1, PLAIN and CRAM-MD5");
                }
            }
            b"sasldb_path" => self.sasldb_path = OsStr::from_bytes(value).into(),
            b"log_level" => {
                let level = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.log_level =
                    level.filter(|level| *level <= 7).ok_or("log_level should be 0 to 7")?;
            }
            b"pwcheck_method" if !words.any(|word| word.eq_ignore_ascii_case(b"auxprop")) => {
                return Err(
                    "pwcheck_method can only be auxprop: saslauthd and others are not asked",
                );
            }
            b"auxprop_plugin" if !words.any(|word| word.eq_ignore_ascii_case(b"sasldb")) => {
                return Err(
                    "auxprop_plugin can only be sasldb: ldapdb, sql and others are not asked",
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Begins an [`Authenticator`] of all this: the mechanisms, the database, and the file that
    /// `MEMCACHED_SASL_PWDB` names, if it is set. A user of either may log in.
    ///
    /// `report` hears of each file, whenever it has been read, how many users it has, or why it
    /// could not be read: then what was read before still counts.
    pub fn authenticator(
        &self,
        pwdb: Option<PathBuf>,
        report: impl Fn(&Path, Result<usize, &FollowError>) + Send + Sync + 'static,
    ) -> Builder {
        let report = Arc::new(report);
        let report_of = |path: &Path| {
            let (report, path) = (Arc::clone(&report), path.to_owned());
            move |event: Result<usize, &FollowError>| report(&path, event)
        };
        let mut stores: Vec<Box<dyn CredentialStore>> = Vec::new();
        if let Some(path) = pwdb {
            let report = report_of(&path);
            stores.push(Box::new(PasswordDb::follow(path, report)));
        }
        let report = report_of(&self.sasldb_path);
        stores.push(Box::new(Sasldb::follow(&self.sasldb_path, report)));
        Authenticator::builder(stores).mechanisms(&self.mechanisms)
    }
}

/// Where the configuration is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Located {
    /// What memcached says that it reads its configuration from: a folder, mostly.
    shown: PathBuf,
    /// The file; `None` where `SASL_CONF_PATH` leads to none, and defaults count.
    file: Option<PathBuf>,
}

impl Located {
    /// Looks for the file; `conf_path` is the value of `SASL_CONF_PATH`.
    ///
    /// `None` if that is not set and none of the usual places has one: then memcached with
    /// libsasl says `Failed to locate a config path` and does not start.
    pub fn find(conf_path: Option<&OsStr>) -> Option<Self> {
        Self::find_in(Path::new("/"), conf_path)
    }

    /// The same below another root.
    fn find_in(root: &Path, conf_path: Option<&OsStr>) -> Option<Self> {
        if let Some(conf_path) = conf_path {
            let parts = conf_path.as_bytes().split(|byte| *byte == b':');
            // An empty part would be the folder that the server happens to be in.
            let file = parts.filter(|part| !part.is_empty()).find_map(|part| {
                let path = Path::new(OsStr::from_bytes(part));
                let inside = path.join(FILE_NAME);
                [inside, path.to_owned()].into_iter().find(|path| path.is_file())
            });
            return Some(Self { shown: conf_path.into(), file });
        }
        ["etc/sasl", "etc/sasl2"].into_iter().find_map(|folder| {
            let folder = root.join(folder);
            let path = folder.join(FILE_NAME);
            let inside = path.join(FILE_NAME);
            if inside.exists() {
                Some(Self { shown: path, file: Some(inside) })
            } else {
                path.exists().then_some(Self { shown: folder, file: Some(path) })
            }
        })
    }

    /// What to show the operator: memcached's `Reading configuration from: <…>`.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The system does not give its content, or it is too large.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use parking_lot::Mutex;

    use super::*;
    use crate::{
        sasl::{Realms, ScramHash, Step},
        sasldb::Writer,
    };

    #[test]
    fn the_tutorial_s_file() {
        let text = b"log_level: 5\nmech_list: plain\nsasldb_path: /etc/sasl2/memcached-sasldb2\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.mechanisms, [Mechanism::Plain]);
        assert_eq!(config.sasldb_path, Path::new("/etc/sasl2/memcached-sasldb2"));
        assert_eq!(config.log_level, 5);
        assert_eq!(Config::parse(b"").unwrap(), Config::default());
    }

    #[test]
    fn lines_are_read_as_cyrus_sasl_reads_them() {
        let config = Config::parse(
            b"  # note\n\n \t\nMECH_List:Scram-SHA-256  plain PLAIN anonymous\r\n\
              mech_list: cram-md5\n  sasldb_path:\t/a b/c  \nunknown-key_1: x\n\
              pwcheck_method: saslauthd auxprop\nauxprop_plugin: sql sasldb",
        )
        .unwrap();
        assert_eq!(config.mechanisms, [Mechanism::Scram(ScramHash::Sha256), Mechanism::Plain]);
        assert_eq!(config.sasldb_path, Path::new("/a b/c"));
        let long = format!("a: {}", "x".repeat(LINE_LEN_MAX));
        for (text, line, what) in [
            ("nonsense", 1, "should be"),
            ("# ok\nmech_list : plain", 2, "should be"),
            ("mech_list:", 1, "should be"),
            (": plain", 1, "should be"),
            ("a: b\nlog_level=5", 2, "should be"),
            ("log_level: 8", 1, "0 to 7"),
            ("log_level: -1", 1, "0 to 7"),
            ("mech_list: anonymous", 1, "no mechanism"),
            ("pwcheck_method: saslauthd", 1, "auxprop"),
            ("auxprop_plugin: ldapdb", 1, "sasldb"),
            (&long, 1, "longer"),
        ] {
            let error = Config::parse(text.as_bytes()).unwrap_err();
            assert!(error.0 == line && error.1.contains(what), "{text}: {error:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let located = Located::find(Some(folder.path().as_os_str())).unwrap();
        assert_eq!((located.file(), located.shown()), (None, folder.path()));
        assert_eq!(Config::read(&located).unwrap(), Config::default(), "as memcached does");
        fs::write(&path, "mech_list: plain\nx\n").unwrap();
        let located = Located::find(Some(folder.path().as_os_str())).unwrap();
        let error = Config::read(&located).unwrap_err().to_string();
        assert_eq!(error, format!("{}, line 2: should be 'key: value'", path.display()));
        fs::remove_file(&path).unwrap();
        let error = Config::read(&located).unwrap_err().to_string();
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
    }

    #[test]
    fn both_databases_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("pwdb"), "sammy@vm:tea\n").unwrap();
        let text = format!("mech_list: plain\nsasldb_path: {}\n", path("sasldb2").display());
        let config = Config::parse(text.as_bytes()).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let report = {
            let heard = Arc::clone(&heard);
            move |path: &Path, event: Result<usize, &FollowError>| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                heard.lock().push((name, event.ok()));
            }
        };
        let builder = config.authenticator(Some(path("pwdb")), report);
        let authenticator = builder.realms(Realms::named(b"vm")).build().unwrap();
        let log_in = |message: &[u8]| {
            let mut exchange = authenticator.exchange();
            let Step::Work(job) = exchange.start(b"PLAIN", message) else { panic!() };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32);
            matches!(exchange.finish(job.run(now)), Step::Done(_))
        };
        assert!(log_in(b"\0sammy\0tea") && !log_in(b"\0eve\0water"));
        let expected = [("pwdb".to_owned(), Some(1)), ("sasldb2".to_owned(), None)];
        assert_eq!(std::mem::take(&mut *heard.lock()), expected);
        let database = Writer::new(false, 512).pair(b"eve\0vm\0userPassword", b"water").finish();
        fs::write(path("sasldb2"), database).unwrap();
        assert!(log_in(b"\0sammy\0tea") && log_in(b"\0eve\0water"));
        assert_eq!(*heard.lock(), [("sasldb2".to_owned(), Some(1))]);
    }

    #[test]
    fn the_file_is_looked_for_where_memcached_does() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let find = || Located::find_in(root.path(), None);
        let located =
            |shown: &str, file: &str| Some(Located { shown: path(shown), file: Some(path(file)) });
        assert_eq!(find(), None);
        fs::create_dir_all(path("etc/sasl2")).unwrap();
        fs::write(path("etc/sasl2/memcached.conf"), "").unwrap();
        assert_eq!(find(), located("etc/sasl2", "etc/sasl2/memcached.conf"));
        fs::create_dir_all(path("etc/sasl/memcached.conf")).unwrap();
        fs::write(path("etc/sasl/memcached.conf/memcached.conf"), "").unwrap();
        let expected = ("etc/sasl/memcached.conf", "etc/sasl/memcached.conf/memcached.conf");
        assert_eq!(find(), located(expected.0, expected.1));

        // SASL_CONF_PATH: a folder, a file, or several.
        let conf = |value: &str| Located::find_in(root.path(), Some(OsStr::new(value))).unwrap();
        let folder = path("etc/sasl2").display().to_string();
        let file = path("etc/sasl2/memcached.conf").display().to_string();
        for value in [&folder, &file, &format!("/nowhere:{folder}:/nowhere")] {
            let located = conf(value);
            assert_eq!(located.file(), Some(Path::new(&file)), "{value}");
            assert_eq!(located.shown(), Path::new(value));
        }
        for nothing in ["/nowhere", "", ":"] {
            assert_eq!(conf(nothing).file(), None);
        }
    }
}
