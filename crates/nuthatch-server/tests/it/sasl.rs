//! SASL's logins (`-S`) frame by frame, beside those of a real memcached.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nuthatch_server::transport::sasl::{ScramHash, ScramKeys};
use nuthatch_testkit::{Daemon, Version, find_program, version_of};
use tempfile::TempDir;

use crate::support::{
    Answer, NUTHATCHD, address, bare, frame,
    opcode::{FLUSH, GET, NOOP, QUIT, SASL_AUTH, SASL_LIST, SASL_STEP, SET, STAT, TOUCH, VERSION},
    skip,
};

/// The tutorial's user.
pub(crate) const USER: &str = "sammy";
pub(crate) const PASSWORD: &str = "S3cretPw";
pub(crate) const SAMMY: &[u8] = b"\0sammy\0S3cretPw";

/// A folder with what `-S` reads: the configuration, and who may log in.
pub(crate) struct Sasl(TempDir);

impl Sasl {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Sammy and Ann in the database that the real `saslpasswd2` writes; `None`, said aloud, where
    /// that is not installed.
    #[track_caller]
    pub(crate) fn in_database() -> Option<Self> {
        if saslpasswd2().is_none() {
            skip("saslpasswd2 is not installed");
            return None;
        }
        let sasl = Self::empty();
        sasl.configure("log_level: 5\nmech_list: plain\n");
        sasl.set(USER, PASSWORD);
        sasl.set("ann@other", "tea");
        Some(sasl)
    }

    /// Both and a user with keys, in a file of lines, and no database.
    pub(crate) fn in_file(mech_list: &str) -> Self {
        let sasl = Self::empty();
        sasl.configure(&format!("mech_list: {mech_list}\n"));
        let host = host();
        let keys = ScramKeys::make(ScramHash::Sha256, b"k", 20_000).unwrap();
        let lines = format!("{USER}@{host}:{PASSWORD}\nann@other:tea\nkeys@{host}:{keys}\n");
        fs::write(sasl.lines(), lines).unwrap();
        sasl
    }

    /// Users in a database, and a real memcached that can read it; says so where one is missing.
    #[track_caller]
    pub(crate) fn beside_memcached() -> Option<(Self, PathBuf)> {
        let sasl = Self::in_database()?;
        let Some(memcached) = find_program("memcached") else {
            skip("no memcached here");
            return None;
        };
        let help = Command::new(&memcached).arg("-h").output().unwrap();
        if !String::from_utf8_lossy(&help.stdout).contains("--enable-sasl") {
            skip("this memcached has no SASL");
            return None;
        }
        Some((sasl, memcached))
    }

    /// Where the configuration is.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    fn database(&self) -> PathBuf {
        self.folder().join("memcached-sasldb2")
    }

    fn lines(&self) -> PathBuf {
        self.folder().join("pwdb")
    }

    /// Writes the configuration, which names the database besides.
    pub(crate) fn configure(&self, text: &str) {
        let database = format!("sasldb_path: {}\n", self.database().display());
        fs::write(self.folder().join("memcached.conf"), text.to_owned() + &database).unwrap();
    }

    /// Adds a user, or changes the password of one.
    #[track_caller]
    pub(crate) fn set(&self, user: &str, password: &str) {
        let mut set = self.saslpasswd2(&["-c", "-p"], user).stdin(Stdio::piped()).spawn().unwrap();
        set.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        assert!(set.wait().unwrap().success());
    }

    #[track_caller]
    pub(crate) fn delete(&self, user: &str) {
        assert!(self.saslpasswd2(&["-d"], user).status().unwrap().success());
    }

    fn saslpasswd2(&self, args: &[&str], user: &str) -> Command {
        let mut command = Command::new(saslpasswd2().unwrap());
        command.args(["-a", "memcached"]).args(args).arg("-f").arg(self.database()).arg(user);
        command
    }

    /// A server that asks for these logins.
    #[track_caller]
    pub(crate) fn start(&self, args: &[&str]) -> Daemon {
        self.start_program(Path::new(NUTHATCHD), args)
    }

    #[track_caller]
    pub(crate) fn start_program(&self, program: &Path, args: &[&str]) -> Daemon {
        let mut builder = Daemon::builder(program).env("SASL_CONF_PATH", self.folder());
        if !self.database().exists() {
            builder = builder.env("MEMCACHED_SASL_PWDB", self.lines());
        }
        builder.args([&["-S"], args].concat()).start().unwrap()
    }
}

/// Beside the administrator's programs, which not everybody has in `PATH`.
fn saslpasswd2() -> Option<PathBuf> {
    find_program("saslpasswd2")
        .or_else(|| Some(PathBuf::from("/usr/sbin/saslpasswd2")).filter(|path| path.exists()))
}

/// The realm of whoever names none.
pub(crate) fn host() -> String {
    nix::unistd::gethostname().unwrap().into_string().unwrap()
}

pub(crate) fn plain(data: impl AsRef<[u8]>) -> Vec<u8> {
    frame(SASL_AUTH, &[], "PLAIN", data)
}

pub(crate) fn step(data: impl AsRef<[u8]>) -> Vec<u8> {
    frame(SASL_STEP, &[], "PLAIN", data)
}

/// The tutorial's user logs in.
pub(crate) fn right() -> Vec<u8> {
    plain(SAMMY)
}

pub(crate) fn wrong() -> Vec<u8> {
    plain(format!("\0{USER}\0wrong"))
}

pub(crate) fn get(key: impl AsRef<[u8]>) -> Vec<u8> {
    frame(GET, &[], key, "")
}

pub(crate) fn set(key: &str, value: &str) -> Vec<u8> {
    frame(SET, &[0; 8], key, value)
}

/// All that a server says to this and one more request, after which it ends the connection whether
/// the login was right or not.
fn hear(daemon: &Daemon, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address(daemon)).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // The server may end it in the middle.
    let _ = stream.write_all(&[said, &bare(QUIT)].concat());
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => heard.extend_from_slice(&buffer[..n]),
            // What it did not read is answered with a reset.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, after {heard:02x?}"),
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
    heard
}

/// Answers one a line, as opcode, status and body; what is no frame ends them.
pub(crate) fn shown(mut heard: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while heard.len() >= 24 {
        let len = u32::from_be_bytes(heard[8..12].try_into().unwrap()) as usize;
        let end = (24 + len).min(heard.len());
        // Two versions of memcached name themselves, and count CAS numbers, as they like.
        let is_version = heard[1] == VERSION;
        let body = if is_version { b"(version)" } else { &heard[24..end] }.escape_ascii();
        lines.push(format!(
            "{:02x} {:02x} {:02x?} key {} extras {} opaque {:02x?} {body}",
            heard[0],
            heard[1],
            &heard[6..8],
            u16::from_be_bytes([heard[2], heard[3]]),
            heard[4],
            &heard[12..16],
        ));
        heard = &heard[end..];
    }
    if !heard.is_empty() {
        lines.push(format!("{heard:02x?}"));
    }
    lines
}

/// What is said, and where ours answers otherwise on purpose, its answer's statuses.
type Case = (&'static str, Vec<u8>, Option<&'static [u16]>);

fn cases(host: &str) -> Vec<Case> {
    let same = |name, said: &[Vec<u8>]| (name, said.concat(), None);
    let user = |name, user: &str| same(name, &[plain(format!("\0{user}\0{PASSWORD}")), get("k")]);
    let data = |name, data: &[u8]| same(name, &[plain(data), get("k")]);
    let authzid =
        |name, id: &str| same(name, &[plain(format!("{id}\0{USER}\0{PASSWORD}")), get("k")]);
    let mechanism = |name, mechanism: &[u8]| {
        let login = frame(SASL_AUTH, &[], mechanism, SAMMY);
        same(name, &[login, get("k")])
    };
    let mut lying = get("k");
    lying[11] = 0;
    let mut huge = right();
    huge[8..12].copy_from_slice(&0x4000_0001_u32.to_be_bytes());
    let mut numbered = right();
    numbered[5..8].copy_from_slice(&[7, 7, 7]);
    numbered[12..24].copy_from_slice(b"opaque--cas-");
    vec![
        same("the mechanisms", &[bare(SASL_LIST), bare(SASL_LIST)]),
        same("the mechanisms, with a value", &[frame(SASL_LIST, &[], "", "x")]),
        same("the mechanisms, with a key", &[frame(SASL_LIST, &[], "PLAIN", "")]),
        same("the version before a login", &[bare(VERSION), bare(VERSION)]),
        same("get", &[get("k")]),
        same("set", &[set("key", "value")]),
        same("a quiet set", &[frame(0x11, &[0; 8], "k", "v")]),
        same("a quiet get", &[frame(0x09, &[], "k", "")]),
        same("noop", &[bare(NOOP)]),
        same("stat", &[bare(STAT)]),
        same("quit", &[]),
        same("a quiet quit", &[bare(0x17)]),
        same("flush", &[bare(FLUSH)]),
        same("touch", &[frame(TOUCH, &[0; 4], "k", "")]),
        same("an unknown opcode", &[bare(0x50)]),
        same("an unknown opcode with a body", &[frame(0x51, &[], "k", "v")]),
        same("a long key", &[get([b'k'; 251])]),
        same("a key longer than its body", &[lying]),
        same("a login", &[right(), set("key", "value"), get("key"), bare(NOOP)]),
        same("a login with numbers", &[numbered, get("k")]),
        // A login is a login; a failed one ends what was before, in both.
        ("two logins", [right(), right(), get("k")].concat(), Some(&[0, 0, 1, 0])),
        same("a wrong password", &[wrong(), set("key", "value")]),
        same("a wrong password and then the right one", &[wrong(), right(), get("k")]),
        same("the right one and then a wrong one", &[right(), wrong(), get("k")]),
        same("the mechanisms after a login", &[right(), bare(SASL_LIST), get("k")]),
        same("the version after a login", &[right(), bare(VERSION), get("k")]),
        user("an unknown user", "nobody"),
        user("no user", ""),
        user("a user of spaces", "   "),
        user("spaces around the user", " sammy  "),
        user("other letters", "Sammy"),
        user("the host's user", &format!("{USER}@{host}")),
        user("another host's user", &format!("{USER}@other.example")),
        user("a user of nothing", &format!("{USER}@")),
        data("no password", b"\0sammy\0"),
        data("no zero", b"sammy"),
        data("one zero", b"sammy\0S3cretPw"),
        data("three zeros", b"\0sammy\0S3cretPw\0"),
        data("more behind the password", b"\0sammy\0S3cretPw\0x"),
        data("three zeros and nothing else", b"\0\0\0"),
        data("a password with more", b"\0sammy\0S3cretPwd"),
        data("a password with less", b"\0sammy\0S3cretP"),
        authzid("the same identity", USER),
        authzid("the same identity at this host", &format!("{USER}@{host}")),
        authzid("the same identity in spaces", " sammy "),
        authzid("somebody else's identity", "root"),
        authzid("another host's identity", "sammy@other.example"),
        mechanism("small letters", b"plain"),
        mechanism("a mechanism with a zero", b"PLAIN\0x"),
        mechanism("an unknown mechanism", b"FOO"),
        mechanism("a mechanism that is not offered", b"CRAM-MD5"),
        mechanism("nobody in particular", b"ANONYMOUS"),
        mechanism("somebody from outside", b"EXTERNAL"),
        mechanism("no mechanism", b""),
        mechanism("a space before the mechanism", b" PLAIN"),
        mechanism("a mechanism of 32 letters", &[b'P'; 32]),
        mechanism("a mechanism of 33 letters", &[b'P'; 33]),
        mechanism("a mechanism of 251 letters", &[b'P'; 251]),
        same("extras", &[frame(SASL_AUTH, &[0; 4], "PLAIN", SAMMY)]),
        same("in two steps", &[plain(""), step(SAMMY), get("k")]),
        same("a step of any name", &[plain(""), frame(SASL_STEP, &[], "FOO", SAMMY), get("k")]),
        // What has failed is over.
        (
            "a wrong step, and the right one",
            [plain(""), step("\0sammy\0wrong"), step(SAMMY)].concat(),
            Some(&[0x21, 0x20, 0x20, 0x20]),
        ),
        same("a step without a beginning", &[step(SAMMY)]),
        same("a step after the end", &[right(), step(SAMMY), get("k")]),
        same("a step after the mechanisms", &[plain(""), bare(SASL_LIST), step(SAMMY), get("k")]),
        same("extras of a step", &[frame(SASL_STEP, &[0; 4], "PLAIN", "x")]),
        same("an announced gibibyte", &[huge]),
        same("text", &[b"get some key and more of it\r\n".to_vec()]),
        same("the web", &[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()]),
        // Its answer is sent before the end.
        ("no request after a login", [right(), b"get k\r\n".to_vec()].concat(), Some(&[0])),
        // It would promise what is not there.
        (
            "a mechanism with channel binding",
            [frame(SASL_AUTH, &[], "PLAIN-PLUS", SAMMY), get("k")].concat(),
            Some(&[0x20, 0x20]),
        ),
    ]
}

#[test]
fn a_real_memcached_says_the_same_to_every_login() {
    let Some((sasl, memcached)) = Sasl::beside_memcached() else { return };
    let is_old = version_of(&memcached).unwrap() < Version::parse("1.6.42").unwrap();
    let cases = cases(&host());
    let mut differences = String::new();
    // A few on each: ours makes those wait who fail often.
    for some in cases.chunks(12) {
        let ours = sasl.start(&[]);
        let theirs = sasl.start_program(&memcached, &[]);
        for (name, said, on_purpose) in some {
            if is_old && *name == "an announced gibibyte" {
                // It waits for the body.
                continue;
            }
            let heard = hear(&ours, said);
            if let Some(expected) = on_purpose {
                let statuses: Vec<_> = Answer::all(&heard[..]).iter().map(|it| it.status).collect();
                assert_eq!(statuses, *expected, "{name}");
            } else {
                let (ours, theirs) = (shown(&heard), shown(&hear(&theirs, said)));
                if ours != theirs {
                    differences += &format!("{name}:\n  ours {ours:#?}\n  theirs {theirs:#?}\n");
                }
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
