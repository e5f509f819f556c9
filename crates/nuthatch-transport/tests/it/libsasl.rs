//! Logins with the real libsasl on the other side: its sample client against our server, and our
//! client against its sample server (Debian: sasl2-bin).
//!
//! Both talk over pipes, in lines `S: base64` and `C: base64`; the client's first line is the
//! mechanism's name, a byte 0, and the first data.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, SystemTime},
};

use base64ct::{Base64, Encoding};
use nuthatch_transport::{
    passwords::Users,
    sasl::{
        Authenticator, Config, ITERATIONS_MIN, Located, Login, Mechanism, Realms, ScramHash,
        ScramKeys, Step,
    },
};

const ALL: [Mechanism; 4] = [
    Mechanism::Scram(ScramHash::Sha256),
    Mechanism::Scram(ScramHash::Sha1),
    Mechanism::Plain,
    Mechanism::CramMd5,
];

/// A sample program, its words and its questions.
struct Sample {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What begins its lines, `C: ` or `S: `.
    speaks: &'static str,
}

impl Sample {
    /// `None`, said aloud, where it is not installed.
    fn new(program: &str, args: &[&str], config: &Path) -> Option<Self> {
        let is_there = Command::new(program).arg("-h").stderr(Stdio::null()).status().is_ok();
        if !is_there {
            println!("SKIPPED: {program} is not installed (Debian: sasl2-bin)");
            return None;
        }
        // In a session of its own: without a terminal it asks its input for the password. And
        // line by line: to a pipe it would say everything at its end.
        let mut child = Command::new("setsid")
            .args(["-w", "stdbuf", "-oL", program, "-s", "memcached"])
            .args(args)
            .env("SASL_CONF_PATH", config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let speaks = if program.ends_with("client") { "C: " } else { "S: " };
        Some(Self { child, stdin, lines, speaks })
    }

    /// What it says next; `None` if nothing more.
    fn hear(&mut self) -> Option<Vec<u8>> {
        let said = self.lines.by_ref().map_while(Result::ok);
        let said = said.map(|line| line.strip_prefix(self.speaks).map(str::to_owned));
        let base64 = said.flatten().next()?;
        Some(Base64::decode_vec(base64.trim()).unwrap())
    }

    fn say(&mut self, bytes: &[u8]) {
        let who = if self.speaks == "C: " { "S" } else { "C" };
        self.line(&format!("{who}: {}", Base64::encode_string(bytes)));
    }

    fn line(&mut self, line: &str) {
        // Whoever has gone away has said no; what it said tells.
        let _ = writeln!(self.stdin, "{line}");
    }

    /// Whether it has ended with a login.
    fn has_succeeded(mut self) -> bool {
        let mut complete = false;
        for line in self.lines.by_ref().map_while(Result::ok) {
            complete |= line.contains("Negotiation complete");
            if complete {
                break;
            }
        }
        self.end();
        complete
    }

    /// Says nothing more: it ends then.
    fn end(mut self) {
        drop(self.stdin);
        self.child.wait().unwrap();
    }
}

/// One login of the sample client; `None` where there is none.
fn their_client(authenticator: &Authenticator, mechanism: &str, password: &str) -> Option<bool> {
    let user = ["-a", "sammy", "-u", "sammy", "-n", "host", "-m", mechanism];
    let mut client = Sample::new("sasl-sample-client", &user, Path::new("/nowhere"))?;
    client.say(mechanism.as_bytes());
    // It asks for the password when it needs it: CRAM-MD5 has nothing to send before a challenge.
    let mut asks_late = mechanism == "CRAM-MD5";
    if !asks_late {
        client.line(password);
    }
    let first = client.hear().expect("the client begins");
    let (name, data) = match first.iter().position(|byte| *byte == 0) {
        Some(at) => (&first[..at], &first[at + 1..]),
        None => (&first[..], &[][..]),
    };
    assert_eq!(name, mechanism.as_bytes());
    let mut exchange = authenticator.exchange();
    let mut step = exchange.start(name, data);
    loop {
        step = match step {
            Step::Challenge(challenge) => {
                client.say(&challenge);
                if std::mem::take(&mut asks_late) {
                    client.line(password);
                }
                exchange.step(&client.hear().expect("the client answers"))
            }
            Step::Work(job) => exchange.finish(job.run(SystemTime::UNIX_EPOCH)),
            Step::Done(identity) => {
                assert_eq!(identity.to_string(), "sammy");
                return Some(client.has_succeeded());
            }
            _ => {
                client.end();
                return Some(false);
            }
        };
    }
}

#[test]
fn the_real_client_logs_in_here() {
    let keys = ScramKeys::make(ScramHash::Sha256, b"S3cretPw", ITERATIONS_MIN).unwrap();
    for (entry, mechanisms) in
        [("S3cretPw", &ALL[..]), (&keys.to_string(), &[ALL[0], Mechanism::Plain])]
    {
        let users = Users::parse(format!("sammy:{entry}\n").as_bytes()).unwrap();
        let authenticator = Authenticator::builder(users)
            .mechanisms(&ALL)
            .realms(Realms::named(b"host"))
            .build()
            .unwrap();
        for mechanism in mechanisms {
            let name = mechanism.name();
            let Some(right) = their_client(&authenticator, name, "S3cretPw") else { return };
            assert!(right, "{name} {entry}");
            assert_eq!(their_client(&authenticator, name, "wrong"), Some(false), "{name}");
        }
    }
}

/// One login at the sample server; `None` where there is none.
fn their_server(config: &Path, mechanism: Mechanism, password: &str) -> Option<bool> {
    let name = mechanism.name();
    let mut server = Sample::new("sasl-sample-server", &["-m", name, "-u", "host"], config)?;
    let offered = server.hear().expect("the server begins");
    let mut login = Login::choose(&offered, &[mechanism], "sammy", password).unwrap();
    let initial = login.initial();
    if initial.is_empty() {
        server.say(name.as_bytes());
    } else {
        server.say(&[name.as_bytes(), b"\0", &initial].concat());
    }
    loop {
        let mut said = server.lines.by_ref().map_while(Result::ok);
        let line = said.find(|line| line.starts_with("S: ") || line.contains("complete"));
        match line.as_deref().map(|line| line.strip_prefix("S: ")) {
            Some(Some(base64)) => {
                let challenge = Base64::decode_vec(base64.trim()).unwrap();
                let Ok(answer) = login.step(&challenge) else {
                    server.end();
                    return Some(false);
                };
                server.say(&answer);
            }
            is_complete => {
                let is_complete = is_complete.is_some();
                server.end();
                return Some(is_complete && login.done(b"").is_ok());
            }
        }
    }
}

#[test]
fn our_client_logs_in_at_the_real_server_and_ours_with_one_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut made = Command::new("saslpasswd2");
    made.args(["-c", "-p", "-u", "host", "-f"]).arg(path("sasldb2")).arg("sammy");
    let Ok(mut made) = made.stdin(Stdio::piped()).spawn() else {
        println!("SKIPPED: saslpasswd2 is not installed (Debian: sasl2-bin)");
        return;
    };
    made.stdin.take().unwrap().write_all(b"S3cretPw").unwrap();
    assert!(made.wait().unwrap().success());
    let text = format!(
        "log_level: 5\nsasldb_path: {}\nmech_list: SCRAM-SHA-256 SCRAM-SHA-1 PLAIN CRAM-MD5\n",
        path("sasldb2").display()
    );
    for name in ["sample.conf", "memcached.conf"] {
        fs::write(path(name), &text).unwrap();
    }
    let located = Located::find(Some(folder.path().as_os_str())).unwrap();
    let config = Config::read(&located).unwrap();
    let authenticator = config
        .authenticator(None, |_, event| assert_eq!(event, Ok(1)))
        .realms(Realms::named(b"Host"))
        .build()
        .unwrap();
    assert_eq!(authenticator.list(), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN CRAM-MD5");
    for mechanism in ALL {
        let Some(right) = their_server(folder.path(), mechanism, "S3cretPw") else { return };
        assert!(right, "{mechanism:?}");
        assert_eq!(their_server(folder.path(), mechanism, "wrong"), Some(false), "{mechanism:?}");
        for (password, expected) in [("S3cretPw", true), ("wrong", false)] {
            assert_eq!(log_in(&authenticator, mechanism, password), expected, "{mechanism:?}");
        }
    }
}

fn log_in(authenticator: &Authenticator, mechanism: Mechanism, password: &str) -> bool {
    let mut login =
        Login::choose(mechanism.name().as_bytes(), &[mechanism], "sammy", password).unwrap();
    let mut exchange = authenticator.exchange();
    let initial = login.initial();
    let mut step = exchange.start(login.name().as_bytes(), &initial);
    loop {
        step = match step {
            Step::Challenge(challenge) => exchange.step(&login.step(&challenge).unwrap()),
            Step::Work(job) => {
                let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 32);
                exchange.finish(job.run(now))
            }
            Step::Done(_) => return login.done(b"").is_ok(),
            _ => return false,
        };
    }
}
