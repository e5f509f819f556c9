//! The tutorial on securing memcached, command by command, with the real `saslpasswd2` and
//! `memcstat`.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::PathBuf,
    process::{Command, Output},
};

use nuthatch_testkit::{Daemon, find_program};

use crate::{
    guests::all_of,
    sasl::{PASSWORD, Sasl, USER, right, shown},
    support::{
        address, bare, eventually, frame,
        opcode::{NOOP, SASL_AUTH},
        skip,
    },
};

/// `memcstat` as the tutorial types it.
struct Memcstat {
    program: PathBuf,
    servers: String,
}

impl Memcstat {
    /// Says so where it is not installed.
    fn new(daemon: &Daemon) -> Option<Self> {
        let Some(program) = find_program("memcstat") else {
            skip("libmemcached-tools are not installed");
            return None;
        };
        Some(Self { program, servers: format!("--servers={}", address(daemon)) })
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.program).arg(&self.servers).args(args).output().unwrap()
    }

    /// With a name and a password. Without `--binary` version 1.1.4 ends before it sends a byte.
    fn log_in(&self, user: &str, password: &str) -> Output {
        let (user, password) = (format!("--username={user}"), format!("--password={password}"));
        self.run(&["--binary", &user, &password])
    }

    #[track_caller]
    fn is_served(&self, user: &str, password: &str) {
        let output = self.log_in(user, password);
        let shown = all_of(&output);
        assert_eq!(output.status.code(), Some(0), "{shown}");
        assert!(
            shown.contains("\tcurr_items: ") && shown.contains("Server: 127.0.0.1 "),
            "{shown}"
        );
    }

    #[track_caller]
    fn is_refused(&self, user: &str, password: &str) {
        let output = self.log_in(user, password);
        let shown = all_of(&output);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(output.stdout.is_empty() && shown.contains("AUTHENTICATION FAILURE"), "{shown}");
    }
}

#[test]
fn the_tutorial_s_logins_work() {
    let Some(sasl) = Sasl::in_database() else { return };
    let daemon = sasl.start(&["-vv"]);
    assert!(daemon.stderr().contains("Initialized SASL."), "{}", daemon.stderr());
    let Some(memcstat) = Memcstat::new(&daemon) else { return };

    // Without credentials: nothing is shown, and the client is sent away before it gives up waiting.
    let output = memcstat.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", all_of(&output));
    assert!(output.stdout.is_empty(), "{}", all_of(&output));
    let mut text = TcpStream::connect(address(&daemon)).unwrap();
    text.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    text.write_all(b"version\r\n").unwrap();
    let mut heard = Vec::new();
    // A reset is an end as well.
    assert!(
        !text
            .read_to_end(&mut heard)
            .is_err_and(|error| { error.kind() != std::io::ErrorKind::ConnectionReset })
    );
    assert_eq!(heard, b"");
    // As with memcached: the version may be asked for, what is asked next is refused.
    let output = memcstat.run(&["--binary"]);
    assert!(output.stdout.is_empty(), "{}", all_of(&output));

    memcstat.is_served(USER, PASSWORD);
    memcstat.is_refused(USER, "wrong-password");
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    memcstat.is_served(&format!("{USER}@{host}"), PASSWORD);
    memcstat.is_refused(&format!("{USER}@elsewhere.example"), PASSWORD);
    memcstat.is_refused("nobody", PASSWORD);

    // Who is in stays in, whatever becomes of the password.
    let mut early = TcpStream::connect(address(&daemon)).unwrap();
    early.write_all(&right()).unwrap();
    let authenticated = frame(SASL_AUTH, &[], "", "Authenticated").len();
    let mut answer = vec![0; authenticated];
    early.read_exact(&mut answer).unwrap();
    assert!(shown(&answer)[0].ends_with("Authenticated"), "{answer:02x?}");

    sasl.set(USER, "an0ther-word");
    memcstat.is_served(USER, "an0ther-word");
    memcstat.is_refused(USER, PASSWORD);
    sasl.set("eve", "eves-word");
    memcstat.is_served("eve", "eves-word");
    sasl.delete(USER);
    memcstat.is_refused(USER, "an0ther-word");
    memcstat.is_served("eve", "eves-word");

    early.write_all(&bare(NOOP)).unwrap();
    let mut answer = [0; 24];
    early.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..8], [0x81, NOOP, 0, 0, 0, 0, 0, 0]);
    early.shutdown(Shutdown::Both).unwrap();

    let shown = all_of(&memcstat.log_in("eve", "eves-word"));
    let figure = |name: &str| -> u64 {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.trim_start_matches(": ").parse().unwrap()
    };
    assert_eq!(figure("auth_errors"), 5, "{shown}");
    assert_eq!(figure("auth_cmds"), 5 + 7, "{shown}");

    // The log tells of logins, and of no password.
    eventually("the last login is in the log", || daemon.stderr().matches("eve").count() >= 3);
    let log = daemon.stderr();
    for line in ["mech:  ``PLAIN'' with ", "sasl result code:  0", "Unknown sasl response:  -13"] {
        assert!(log.contains(line), "{log}");
    }
    for secret in [PASSWORD, "wrong-password", "an0ther-word", "eves-word"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// libmemcached's other commands take the same options.
#[test]
fn files_are_stored_and_fetched_by_who_has_logged_in() {
    let Some(sasl) = Sasl::in_database() else { return };
    let daemon = sasl.start(&[]);
    let Some(memcstat) = Memcstat::new(&daemon) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("greeting");
    std::fs::write(&file, "hello from a file\n").unwrap();
    let tool = |name: &str, password: &str| {
        let mut command = Command::new(memcstat.program.with_file_name(name));
        command.arg(&memcstat.servers).args(["--binary", "--username", USER]);
        command.args(["--password", password]);
        command
    };
    let output = tool("memccp", PASSWORD).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", all_of(&output));
    let output = tool("memccat", PASSWORD).arg("greeting").output().unwrap();
    assert!(output.status.success() && output.stdout.starts_with(b"hello"), "{}", all_of(&output));
    for (name, argument) in
        [("memccp", file.to_str().unwrap()), ("memccat", "greeting"), ("memcrm", "greeting")]
    {
        let output = tool(name, "wrong").arg(argument).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{}", all_of(&output));
    }
    let output = tool("memcrm", PASSWORD).arg("greeting").output().unwrap();
    assert!(output.status.success(), "{}", all_of(&output));
}
