//! Databases that the real `saslpasswd2` makes, compared with what `sasldblistusers2` lists; and
//! damaged ones.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use proptest::prelude::*;

use super::*;
use crate::sasl::{Realms, Shape, is_password};

/// Users as `name@realm` with their passwords, sorted.
fn listed(file: &[u8]) -> BTreeSet<String> {
    let database = Database::parse(file).unwrap();
    let users = database.users().map(|(user, realm)| {
        format!("{}@{}", String::from_utf8_lossy(user), String::from_utf8_lossy(realm))
    });
    users.collect()
}

fn allows(file: &[u8], name: &str, password: &str) -> bool {
    let name = Name::parse(name.as_bytes(), &Realms::named(b"Host")).unwrap();
    let database = Database::parse(file).unwrap();
    let mut found = Found::default();
    for realm in name.realms() {
        database.0.find(&key(name.user(), realm), &mut found);
    }
    is_password(found.credentials(), Shape::Plain, password.as_bytes())
}

/// The real programs, on one database.
struct Real<'a> {
    path: &'a Path,
}

impl<'a> Real<'a> {
    /// Says so where they are not installed.
    fn new(path: &'a Path) -> Option<Self> {
        let is_there = ["saslpasswd2", "sasldblistusers2"].iter().all(|program| {
            Command::new(program)
                .arg("-h")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        });
        if !is_there {
            println!("SKIPPED: saslpasswd2 is not installed (Debian: sasl2-bin)");
        }
        is_there.then_some(Self { path })
    }

    fn set(&self, user: &str, password: &str) {
        let mut child = Command::new("saslpasswd2")
            .args(["-a", "memcached", "-c", "-p", "-f"])
            .arg(self.path)
            .args(["-u", "host", user])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{user}");
    }

    fn delete(&self, user: &str) {
        let mut delete = Command::new("saslpasswd2");
        delete.args(["-a", "memcached", "-d", "-f"]).arg(self.path).args(["-u", "host", user]);
        assert!(delete.status().unwrap().success(), "{user}");
    }

    fn listed(&self) -> BTreeSet<String> {
        let output = Command::new("sasldblistusers2").arg("-f").arg(self.path).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.trim_end_matches(": userPassword").to_owned()).collect()
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.path).unwrap()
    }

    /// Makes so many users, then deletes and changes some, and compares each time.
    fn compare(&self, n_users: usize) {
        let user = |n: usize| format!("user{n}");
        for n in 0..n_users {
            self.set(&user(n), &format!("password-{n}"));
        }
        let file = self.file();
        assert_eq!(listed(&file), self.listed());
        assert_eq!(listed(&file).len(), n_users);
        for n in 0..n_users {
            assert!(n % 97 != 0 || allows(&file, &user(n), &format!("password-{n}")));
        }
        for n in (0..n_users).filter(|n| n % 7 == 3) {
            self.delete(&user(n));
        }
        for n in (0..n_users).filter(|n| n % 7 == 5) {
            self.set(&user(n), &"changed-".repeat(n % 40 + 1));
        }
        let file = self.file();
        assert_eq!(listed(&file), self.listed());
        for n in (0..n_users).step_by(if n_users > 100 { 97 } else { 1 }) {
            let password = match n % 7 {
                3 => continue,
                5 => "changed-".repeat(n % 40 + 1),
                _ => format!("password-{n}"),
            };
            assert!(allows(&file, &user(n), &password), "{n}");
            assert!(!allows(&file, &user(n), "wrong"));
        }
        if n_users > 3 {
            assert!(!allows(&file, "user3", "password-3"), "a user who was deleted");
        }
        if n_users > 5 {
            assert!(!allows(&file, "user5", "password-5"), "a password that was changed");
        }
    }
}

#[test]
fn real_databases_list_the_same() {
    for n_users in [1, 50] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sasldb2");
        let Some(real) = Real::new(&path) else { return };
        real.compare(n_users);
    }
}

/// Takes a minute: saslpasswd2 opens the database anew for each user.
#[test]
#[ignore = "starts ten thousand processes; run with --ignored"]
fn a_real_database_of_5000_users_lists_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sasldb2");
    let Some(real) = Real::new(&path) else { return };
    real.compare(5000);
    println!("{} bytes", real.file().len());
}

/// The tutorial: no realm is named anywhere.
#[test]
fn the_host_s_name_is_the_realm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sasldb2");
    let Some(real) = Real::new(&path) else { return };
    let mut set = Command::new("saslpasswd2");
    set.args(["-a", "memcached", "-c", "-p", "-f"]).arg(real.path).arg("sammy");
    let mut set = set.stdin(Stdio::piped()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"S3cretPw").unwrap();
    assert!(set.wait().unwrap().success());
    let database = Sasldb::follow(&path, |event| assert_eq!(event, Ok(1)));
    let name = Name::parse(b"sammy", &Realms::of_host()).unwrap();
    let mut found = Found::default();
    database.find(&name, SystemTime::UNIX_EPOCH, &mut found);
    assert!(is_password(found.credentials(), Shape::Plain, b"S3cretPw"));
}

/// What a machine of the other byte order has written, made by Berkeley DB itself.
#[test]
fn real_databases_of_either_byte_order_list_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (order, page_bytes) in [(1234, 512), (4321, 512), (4321, 65536)] {
        let path = folder.path().join(format!("{order}-{page_bytes}"));
        let Some(real) = Real::new(&path) else { return };
        let mut text = format!(
            "VERSION=3\nformat=print\ntype=hash\ndb_lorder={order}\n\
             db_pagesize={page_bytes}\nHEADER=END\n"
        );
        for n in 0..300 {
            let password = "x".repeat(n % 50 * 20 + 1);
            text.push_str(&format!(" user{n}\\00host\\00userPassword\n {n}-{password}\n"));
        }
        text.push_str("DATA=END\n");
        let Ok(mut load) = Command::new("db5.3_load").arg(&path).stdin(Stdio::piped()).spawn()
        else {
            println!("SKIPPED: db5.3_load is not installed (Debian: db5.3-util)");
            return;
        };
        load.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(load.wait().unwrap().success());
        let file = real.file();
        assert_eq!(listed(&file), real.listed());
        assert_eq!(listed(&file).len(), 300);
        for n in 0..300 {
            let password = format!("{n}-{}", "x".repeat(n % 50 * 20 + 1));
            assert!(allows(&file, &format!("user{n}"), &password), "{order} {page_bytes} {n}");
        }
    }
}

#[test]
fn real_databases_hold_any_name_and_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sasldb2");
    let Some(real) = Real::new(&path) else { return };
    let (long_name, long_password) = ("n".repeat(900), "p".repeat(2047));
    let users = [
        ("with space", "pass word"),
        ("colon:name", "a:b"),
        ("sch\u{f6}n", "p\u{e4}ss"),
        ("lines", "one\ntwo\r"),
        ("long", &long_password),
        (&long_name, "short"),
    ];
    for (user, password) in users {
        real.set(user, password);
    }
    let file = real.file();
    assert_eq!(listed(&file).len(), users.len());
    for (user, password) in users {
        assert!(allows(&file, user, password), "{user}");
    }
    // The realm of names without one is the host's, in the case that saslpasswd2 wrote it too.
    assert!(allows(&file, "long@host", &long_password));
    assert!(!allows(&file, "long@Host", &long_password));
}

#[test]
fn the_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sasldb2");
    let Some(real) = Real::new(&path) else { return };
    let database = Sasldb::follow(&path, |_| {});
    let name = |user: &str| Name::parse(user.as_bytes(), &Realms::named(b"host")).unwrap();
    let now = std::cell::Cell::new(Duration::from_secs(1 << 32));
    let knows = |user: &str, password: &str| {
        now.set(now.get() + Duration::from_millis(1));
        let mut found = Found::default();
        database.find(&name(user), SystemTime::UNIX_EPOCH + now.get(), &mut found);
        is_password(found.credentials(), Shape::Plain, password.as_bytes())
    };
    assert!(!knows("sammy", "tea"), "there is no file yet");
    real.set("sammy", "tea");
    assert!(knows("sammy", "tea"));
    real.set("sammy", "coffee");
    assert!(knows("sammy", "coffee") && !knows("sammy", "tea"));
    real.set("eve", "water");
    real.delete("sammy");
    assert!(knows("eve", "water") && !knows("sammy", "coffee"));
    fs::write(&path, "garbage").unwrap();
    assert!(knows("eve", "water"), "what was good still counts");
    fs::remove_file(&path).unwrap();
    assert!(!knows("eve", "water"), "a database that is gone lets nobody in");
}

#[test]
fn other_records_are_passed_over() {
    let record = |text: &str| text.replace('|', "\0").into_bytes();
    let file = Writer::new(false, 4096)
        .pair(&record("sammy|host|userPassword"), b"tea")
        .pair(&record("sammy|host|cmusaslsecretPLAIN"), b"x")
        .pair(&record("sammy|userPassword"), b"x")
        .pair(&record("a|b|c|userPassword"), b"x")
        .pair(&record("empty|host|userPassword"), b"")
        .pair(b"userPassword", b"x")
        .pair(b"", b"")
        .finish();
    assert_eq!(listed(&file), BTreeSet::from(["sammy@host".to_owned()]));
    assert!(allows(&file, "sammy@host", "tea") && !allows(&file, "sammy@host", "x"));
}

/// A file with everything in it: short and long records, in either byte order.
fn sample(is_big_endian: bool) -> Vec<u8> {
    let key = |n: usize| format!("user{n}\0host\0userPassword").into_bytes();
    let mut writer = Writer::new(is_big_endian, 1024);
    for n in 0..8 {
        writer = writer.pair(&key(n), format!("password-{n}").as_bytes());
    }
    writer.long_pair(&key(8), &[b'x'; 2000], 900).finish()
}

proptest! {
    /// Bytes here and there become others, and the end is cut off.
    #[test]
    fn damaged_files_are_read_or_refused(
        is_big_endian: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        near_headers in prop::collection::vec((0..6_usize, 0..64_usize, any::<u8>()), 0..12),
        keep in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut file = sample(is_big_endian);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        for (page, at, byte) in near_headers {
            if let Some(place) = file.get_mut(page * 1024 + at) {
                *place = byte;
            }
        }
        if cut {
            file.truncate(keep.index(file.len()));
        }
        if let Ok(database) = Database::parse(&file) {
            prop_assert!(database.len() <= file.len() / 4);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Database::parse(&bytes);
    }
}
