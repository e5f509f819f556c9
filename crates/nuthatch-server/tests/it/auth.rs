//! Logging in with `-Y`: nothing is served before, and the file is read again on SIGHUP.

use std::{fs, io::Write as _, path::Path};

use nix::sys::signal::Signal;
use nuthatch_server::transport::sasl::{ScramHash, ScramKeys};
use nuthatch_testkit::{Daemon, Version, find_program, version_of};

use crate::support::{
    Client, NUTHATCHD, bare, eventually, opcode::VERSION, run, signal, skip, start,
};

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const FAILURE: &str = "CLIENT_ERROR authentication failure";

/// Lengths that no login has.
const LENGTHS: &[&str] = &["2147483646", "16385", "-1", "x", ""];

/// A server whose users are these; the file is in a folder that lives as long as the server.
fn with_users(users: &str, args: &[&str]) -> (Daemon, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, users).unwrap();
    let path = path.to_str().unwrap();
    (start([&["-Y", path], args].concat()), folder)
}

fn log_in<S: std::io::Read + std::io::Write>(client: &mut Client<S>, token: &str) -> String {
    client.set("anything", token.as_bytes())
}

/// What a server says to these lines before anybody has logged in, and after a login. Old versions
/// of memcached lost step over lengths that are none.
fn dialogue(daemon: &Daemon, lengths: &[&str]) -> Vec<String> {
    let mut client = Client::of(daemon);
    let mut said = Vec::new();
    for line in ["get foo", "version", "stats", "mn with more", "flush_all", "ms foo 2"] {
        said.push(client.ask(line));
    }
    for token in ["hi", "foo bab", "foo", "FOO bar"] {
        said.push(log_in(&mut client, token));
    }
    for length in lengths {
        said.push(client.ask(&format!("set foo 0 0 {length}")));
    }
    client.send("set foo 0 0 7\r\nfoo barxx");
    said.push(client.line());
    said.push(log_in(&mut client, "foo bar"));
    said.push(client.set("toast", b"hi"));
    said.push(client.ask("get toast"));
    said
}

#[test]
fn nothing_is_served_before_the_login_and_all_after_it() {
    let (daemon, folder) = with_users("foo:bar\nbaaaz:quux", &[]);
    let said = dialogue(&daemon, LENGTHS);
    assert!(said[..6].iter().all(|line| line == UNAUTHENTICATED), "{said:?}");
    assert_eq!(said[6], "CLIENT_ERROR bad authentication token format");
    assert_eq!(said[7], FAILURE);
    assert_eq!(said[said.len() - 3..], ["STORED", "STORED", "VALUE toast 0 2"]);

    let mut client = Client::of(&daemon);
    assert_eq!(log_in(&mut client, "baaaz quux"), "STORED");
    assert!(client.number("auth_errors") > 0);
    assert!(client.number("auth_cmds") >= client.number("auth_errors") + 2);
    let path = folder.path().join("users");
    assert_eq!(client.stat("stats settings", "auth_enabled_ascii"), path.to_str().unwrap());
    assert_eq!(client.stat("stats settings", "binding_protocol"), "ascii");
    assert_eq!(client.ask("stats reset"), "RESET");
    assert_eq!((client.number("auth_cmds"), client.number("auth_errors")), (0, 0));

    // The password is all that follows the first space (memcached 1.6.18 read it up to the next).
    for token in ["foo ", " bar", "foo bar ", " foo bar", "foo  bar"] {
        assert_eq!(log_in(&mut Client::of(&daemon), token), FAILURE, "{token:?}");
    }
    // Too short to be a login: closed.
    let mut client = Client::of(&daemon);
    client.send("mn\r\n");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_real_memcached_says_the_same() {
    let Some(memcached) = find_program("memcached") else {
        return skip("no memcached here");
    };
    let (ours, folder) = with_users("foo:bar\n", &[]);
    let path = folder.path().join("users");
    let lengths = match version_of(&memcached) {
        Ok(version) if version < Version::parse("1.6.40").unwrap() => &[],
        _ => LENGTHS,
    };
    let theirs = Daemon::builder(memcached).args(["-Y", path.to_str().unwrap()]).start().unwrap();
    assert_eq!(dialogue(&ours, lengths), dialogue(&theirs, lengths));
}

#[test]
fn more_than_memcached_s_eight_users_may_log_in() {
    let users: String = (0..20).map(|n| format!("user{n}:word{n}\n")).collect();
    let (daemon, _folder) = with_users(&users, &[]);
    assert_eq!(log_in(&mut Client::of(&daemon), "user19 word19"), "STORED");
    assert_eq!(log_in(&mut Client::of(&daemon), "user19 word18"), FAILURE);
}

#[test]
fn sighup_reads_the_file_again() {
    let (daemon, folder) = with_users("me:old\n", &[]);
    let path = folder.path().join("users");
    let mut early = Client::of(&daemon);
    assert_eq!(log_in(&mut early, "me old"), "STORED");
    // Written beside and renamed: nobody reads it half.
    let replace = |text: &str| {
        let beside = folder.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &path).unwrap();
        signal(daemon.pid(), Signal::SIGHUP);
    };
    replace("me:new\n");
    eventually("the new word is good", || log_in(&mut Client::of(&daemon), "me new") == "STORED");
    assert_eq!(log_in(&mut Client::of(&daemon), "me old"), FAILURE);

    replace("nobody\n");
    eventually("the bad file is mentioned", || daemon.stderr().contains("malformed entry"));
    assert!(daemon.stderr().contains("stay as they were"), "{}", daemon.stderr());
    assert_eq!(log_in(&mut Client::of(&daemon), "me new"), "STORED");
    assert_eq!(early.set("still", b"here"), "STORED", "who was in stays in");
    assert!(!daemon.stderr().contains("old") && !daemon.stderr().contains("new"), "no passwords");
}

#[test]
fn files_that_cannot_be_used_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let refused = |path: &Path, begin: &str| {
        let output = run(&["-p", "-1", "-Y", path.to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(begin), "{stderr}");
    };
    refused(&path, "Could not open authfile [");
    refused(folder.path(), "Could not open authfile [");
    fs::write(&path, "foo=bar\n").unwrap();
    refused(&path, "has a malformed entry. Should be 'user:password'");
    // An empty file lets nobody in, and is no error.
    let (daemon, _folder) = with_users("", &[]);
    assert_eq!(log_in(&mut Client::of(&daemon), " "), FAILURE);
}

#[test]
fn unix_sockets_and_negotiating_listeners_ask_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, "foo:bar").unwrap();
    let args = ["-Y", path.to_str().unwrap()];
    let daemon = Daemon::builder(NUTHATCHD).args(args).unix().start().unwrap();
    assert_eq!(Client::of(&daemon).ask("version"), UNAUTHENTICATED);
    assert_eq!(log_in(&mut Client::of(&daemon), "foo bar"), "STORED");
    drop(daemon);

    let daemon = start([&args[..], &["-l", "proto[negotiating]:127.0.0.1:0"]].concat());
    assert!(daemon.stderr().contains("WARNING: negotiating ports are ascii only"));
    let mut client = Client::of(&daemon);
    client.send(bare(VERSION));
    client.send("\n");
    assert_eq!(client.line(), UNAUTHENTICATED, "no way around by the binary protocol");
}

#[test]
fn connections_show_who_has_logged_in() {
    let (daemon, _folder) = with_users("foo:bar\nb\tz:quux\n", &["-v"]);
    let mut foo = Client::of(&daemon);
    assert_eq!(log_in(&mut foo, "foo bar"), "STORED");
    let mut other = Client::of(&daemon);
    assert_eq!(log_in(&mut other, "b\tz quux"), "STORED");
    let mut stranger = Client::of(&daemon);
    assert_eq!(log_in(&mut stranger, "foo quux"), FAILURE);
    let lines = foo.lines("stats conns");
    let users: Vec<_> = lines.iter().filter_map(|line| line.split_once(":user ")).collect();
    let mut names: Vec<_> = users.iter().map(|(_, user)| *user).collect();
    names.sort_unstable();
    assert_eq!(names, [r"b\tz", "foo"]);
    // Behind the lines that memcached has, before the state.
    let number = users[0].0.strip_prefix("STAT ").unwrap();
    let of_one: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix(&format!("STAT {number}:"))).collect();
    assert!(of_one.len() == 5 && of_one[2].starts_with("user "), "{of_one:?}");
    let log = daemon.stderr();
    assert!(log.contains("logged in") && log.contains("user=foo"), "{log}");
    assert!(log.contains("log-in failed") && !log.contains("quux"), "{log}");
}

#[test]
fn what_comes_behind_a_login_waits_for_it() {
    // Hashed so often that all of it is there before the answer is.
    let keys = ScramKeys::make(ScramHash::Sha256, b"k", 20_000).unwrap();
    let (daemon, _folder) = with_users(&format!("foo:bar\nkeys:{keys}\n"), &["-A"]);
    let login = |token: &str| format!("set x 0 0 {}\r\n{token}\r\n", token.len());
    for (said, answers) in [
        (
            login("keys k") + "set a 0 0 1\r\nv\r\nget a\r\n",
            "STORED\r\nSTORED\r\nVALUE a 0 1\r\nv\r\nEND\r\n",
        ),
        (
            login("keys x") + "get a\r\n",
            "CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\n",
        ),
        (
            login("keys x") + "shutdown\r\n" + &login("foo bar") + "get b\r\n",
            "CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\nSTORED\r\nEND\r\n",
        ),
        (
            "shutdown\r\nshutdown graceful\r\nflush_all\r\nrefresh_certs\r\nconfig get cluster\r\n"
                .to_owned(),
            &"CLIENT_ERROR unauthenticated\r\n".repeat(5),
        ),
    ] {
        let client = daemon.connect().unwrap();
        let mut client = Client::on(client);
        client.send(&said);
        assert_eq!(String::from_utf8(client.exactly(answers.len())).unwrap(), answers, "{said}");
    }
    // Whoever says no more is answered all the same.
    let mut connection = daemon.connect().unwrap();
    connection.write_all((login("keys k") + "get a\r\n").as_bytes()).unwrap();
    connection.finish_writing().unwrap();
    assert_eq!(Client::on(connection).rest(), b"STORED\r\nVALUE a 0 1\r\nv\r\nEND\r\n");
}

#[test]
fn the_log_has_no_more_of_a_name_than_a_name_may_have() {
    let (daemon, _folder) = with_users("foo:bar", &["-vv"]);
    let name = "\u{1}".repeat(16_000);
    assert_eq!(log_in(&mut Client::of(&daemon), &format!("{name} bar")), FAILURE);
    assert_eq!(log_in(&mut Client::of(&daemon), "foo S3cret"), FAILURE);
    let log = daemon.stderr();
    assert!(log.contains("log-in failed") && !log.contains("S3cret"), "{log}");
    let longest = log.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 2000, "{longest}");
}
