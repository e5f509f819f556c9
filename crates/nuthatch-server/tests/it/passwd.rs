//! `nuthatchd passwd`: entries by which clients then log in.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::sys::signal::Signal;
use nuthatch_testkit::find_program;

use crate::support::{Client, NUTHATCHD, eventually, signal, skip, start};

/// Runs the command with this on its standard input.
fn passwd(args: &[&str], said: &str) -> Output {
    let mut command = Command::new(NUTHATCHD);
    command.arg("passwd").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who asks for no password may be gone before it is read.
    let _ = child.stdin.take().unwrap().write_all(said.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str], said: &str) -> String {
    let output = passwd(args, said);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {stderr}");
    assert!(!stderr.contains(said.trim_end()) || said.is_empty(), "no passwords: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn log_in(port: &nuthatch_testkit::Daemon, token: &str) -> String {
    Client::of(port).set("anything", token.as_bytes())
}

#[test]
fn an_entry_that_is_printed_logs_in() {
    let entry = succeeds(&["sammy"], "S3cret Pw\n");
    assert!(entry.starts_with("sammy:SCRAM-SHA-256$16384:"), "{entry}");
    assert!(!entry.contains("S3cret") && entry.ends_with('\n'), "{entry}");
    let weaker = succeeds(&["--iterations", "4096", "eve"], "tea");
    assert!(weaker.starts_with("eve:SCRAM-SHA-256$4096:"), "{weaker}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, entry + &weaker).unwrap();
    let daemon = start(["-Y", path.to_str().unwrap()]);
    assert_eq!(log_in(&daemon, "sammy S3cret Pw"), "STORED");
    assert_eq!(log_in(&daemon, "eve tea"), "STORED");
    for token in ["sammy S3cret", "eve S3cret Pw", "nobody tea"] {
        assert_eq!(log_in(&daemon, token), "CLIENT_ERROR authentication failure", "{token}");
    }
}

#[test]
fn a_file_is_changed_under_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    // More than memcached's eight users, and lines of more than its 256 bytes.
    let long_name = "n".repeat(250);
    let mut names: Vec<String> = (0..10).map(|n| format!("user{n}")).collect();
    names.push(long_name.clone());
    for name in &names {
        succeeds(&["-f", file, "--iterations=4096", name], &format!("word of {name}\n"));
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), names.len());
    assert!(text.lines().any(|line| line.len() > 256));
    let daemon = start(["-Y", file]);
    for name in &names {
        assert_eq!(log_in(&daemon, &format!("{name} word of {name}")), "STORED", "{name}");
    }

    succeeds(&["-f", file, "--iterations=4096", "user3"], "changed\n");
    succeeds(&["-f", file, "--iterations=4096", "-a", "user4"], "another\n");
    succeeds(&["-f", file, "-d", &long_name], "");
    assert_eq!(log_in(&daemon, "user3 word of user3"), "STORED", "nobody has told the server");
    signal(daemon.pid(), Signal::SIGHUP);
    eventually("the change is known", || log_in(&daemon, "user3 changed") == "STORED");
    for (token, answer) in [
        ("user3 word of user3", "CLIENT_ERROR authentication failure"),
        ("user4 word of user4", "STORED"),
        ("user4 another", "STORED"),
        (&format!("{long_name} word of {long_name}"), "CLIENT_ERROR authentication failure"),
    ] {
        assert_eq!(log_in(&daemon, token), answer, "{token}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let file = path.to_str().unwrap();
    fs::write(&path, "sammy:tea\n").unwrap();
    for (args, said, code, message) in [
        (&[][..], "", 64, "no user is named"),
        (&["a:b"], "tea\n", 64, "no colon"),
        (&["sammy"], "", 1, "an empty password is none"),
        (&["sammy"], "\n", 1, "an empty password is none"),
        (&["-f", file, "-d", "eve"], "", 1, "has no entry of that user"),
        (&["-f", "/no/such/folder/file", "eve"], "tea\n", 1, "No such file or directory"),
    ] {
        let output = passwd(args, said);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "sammy:tea\n");
    let help = succeeds(&["--help"], "");
    assert!(help.starts_with("nuthatchd passwd"), "{help}");
}

/// What a terminal shows while this is answered to its questions, one after the other.
fn on_a_terminal(file: &Path, answers: &[&str]) -> String {
    let command = format!("{NUTHATCHD} passwd -f {} sammy", file.display());
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    for answer in answers {
        let n_before = shown.iter().filter(|byte| **byte == b':').count();
        while shown.iter().filter(|byte| **byte == b':').count() == n_before {
            let mut buffer = [0; 100];
            let n = screen.read(&mut buffer).unwrap();
            assert!(n > 0, "no question: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&buffer[..n]);
        }
        keyboard.write_all(answer.as_bytes()).unwrap();
    }
    screen.read_to_end(&mut shown).unwrap();
    child.wait().unwrap();
    String::from_utf8(shown).unwrap()
}

#[test]
fn a_terminal_asks_twice_and_shows_nothing() {
    if find_program("script").is_none() {
        return skip("no script(1) here, which makes terminals");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let shown = on_a_terminal(&path, &["S3cretPw\n", "S3cretPv\n"]);
    assert!(shown.contains("the two are not the same") && !path.exists(), "{shown}");
    let shown = on_a_terminal(&path, &["S3cretPw\n", "S3cretPw\n"]);
    assert!(shown.contains("Password for sammy: ") && shown.contains("Once more: "), "{shown}");
    assert!(!shown.contains("S3cret"), "{shown}");
    let daemon = start(["-Y", path.to_str().unwrap()]);
    assert_eq!(log_in(&daemon, "sammy S3cretPw"), "STORED");
}
