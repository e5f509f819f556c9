//! Logging in with `-S`, rule by rule: what is answered to each step, what waits for it, and who
//! waits for whom.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use nuthatch_server::process::privileges;
use nuthatch_server::transport::sasl::{Login, Mechanism, ScramHash};
use nuthatch_testkit::Daemon;

use crate::{
    sasl::{SAMMY, Sasl, get, host, plain, right, set, step},
    support::{
        Answer, NUTHATCHD, bare, binary_stats, eventually, frame,
        opcode::{NOOP, QUIT, SASL_AUTH, SASL_LIST, SASL_STEP, STAT, VERSION},
        skip,
    },
    tls::{Identity, hear_plain},
};

/// So many cases do not fail often enough for their address to have to wait.
const FEW: usize = 16;

const FAILURE: &str = "20 'Auth failure.'";

/// The next answer as text, the same for all versions of memcached.
fn heard(stream: &mut impl Read) -> String {
    match Answer::read(stream) {
        None => "closed".to_owned(),
        Some(Answer { opcode: VERSION, status, .. }) => format!("{status:02x} version"),
        Some(Answer { status, body, .. }) => format!("{status:02x} '{}'", body.escape_ascii()),
    }
}

/// What is answered to each of these, and whether the connection is open after them.
fn play(daemon: &Daemon, said: &[Vec<u8>]) -> Vec<String> {
    let mut stream = daemon.connect().unwrap();
    let mut answers = Vec::new();
    for bytes in said.iter().chain([&bare(VERSION)]) {
        if stream.write_all(bytes).is_err() {
            answers.push("closed".to_owned());
            return answers;
        }
        answers.push(heard(&mut stream));
        if answers.last().is_some_and(|last| last == "closed") {
            return answers;
        }
    }
    answers
}

/// What is answered to all of these, sent at once and followed by a question for the version.
fn play_at_once(daemon: &Daemon, said: &[Vec<u8>]) -> Vec<String> {
    let mut stream = daemon.connect().unwrap();
    stream.write_all(&[said.concat(), bare(VERSION)].concat()).unwrap();
    let mut answers: Vec<_> = said.iter().map(|_| heard(&mut stream)).collect();
    answers.push(heard(&mut stream));
    if let Some(end) = answers.iter().position(|answer| answer == "closed") {
        answers.truncate(end + 1);
    }
    answers
}

/// What it is, what is said, and what is answered.
type Case = (&'static str, Vec<Vec<u8>>, &'static [&'static str]);

/// What everybody's server says, and what it must say where it is known beforehand.
fn cases() -> Vec<Case> {
    const OPEN: &str = "00 version";
    let auth = |mechanism: &[u8]| frame(SASL_AUTH, &[], mechanism, SAMMY);
    let mut cases: Vec<Case> = vec![
        ("list", vec![bare(SASL_LIST)], &["00 'PLAIN'", OPEN]),
        ("right", vec![right(), bare(NOOP)], &["00 'Authenticated'", "00 ''", OPEN]),
        (
            "wrong, right",
            vec![plain("\0sammy\0x"), right()],
            &[FAILURE, "00 'Authenticated'", OPEN],
        ),
        ("stranger", vec![bare(NOOP)], &[FAILURE, "closed"]),
        ("after a failure", vec![plain("\0sammy\0x"), bare(NOOP)], &[FAILURE, FAILURE, "closed"]),
        (
            "list logs out",
            vec![right(), bare(SASL_LIST), bare(NOOP)],
            &["00 'Authenticated'", "00 'PLAIN'", FAILURE, "closed"],
        ),
        (
            "a failure logs out",
            vec![right(), plain("\0sammy\0x"), bare(NOOP)],
            &["00 'Authenticated'", FAILURE, FAILURE, "closed"],
        ),
        (
            "a step too many logs out",
            vec![right(), step(SAMMY), bare(NOOP)],
            &["00 'Authenticated'", FAILURE, FAILURE, "closed"],
        ),
        (
            "an unfinished login logs out",
            vec![right(), plain(""), bare(NOOP)],
            &["00 'Authenticated'", "21 ''", FAILURE, "closed"],
        ),
        ("step alone", vec![step(SAMMY)], &[FAILURE, OPEN]),
        (
            "two steps",
            vec![plain(""), frame(SASL_STEP, &[], "whatever", SAMMY), bare(NOOP)],
            &["21 ''", "00 'Authenticated'", "00 ''", OPEN],
        ),
        (
            "a list between them",
            vec![plain(""), bare(SASL_LIST), step(SAMMY)],
            &["21 ''", "00 'PLAIN'", "00 'Authenticated'", OPEN],
        ),
        ("lower case", vec![auth(b"plain")], &["00 'Authenticated'", OPEN]),
        ("cut at a zero", vec![auth(b"PLAIN\0X")], &["00 'Authenticated'", OPEN]),
        ("unknown", vec![auth(b"FOO")], &[FAILURE, OPEN]),
        ("not offered", vec![auth(b"ANONYMOUS"), auth(b"CRAM-MD5")], &[FAILURE, FAILURE, OPEN]),
        ("32 bytes", vec![auth(&[b'M'; 32])], &[FAILURE, OPEN]),
        ("33 bytes", vec![auth(&[b'M'; 33])], &["04 'Invalid arguments'", OPEN]),
        (
            "33 bytes change nothing",
            vec![right(), auth(&[b'M'; 33]), bare(NOOP)],
            &["00 'Authenticated'", "04 'Invalid arguments'", "00 ''", OPEN],
        ),
        ("251 bytes", vec![auth(&[b'M'; 251])], &["04 'Invalid arguments'", "closed"]),
        ("no name", vec![auth(b"")], &["04 'Invalid arguments'", "closed"]),
        (
            "extras",
            vec![frame(SASL_AUTH, b"x", "PLAIN", SAMMY)],
            &["04 'Invalid arguments'", "closed"],
        ),
        (
            "a list with a key",
            vec![frame(SASL_LIST, &[], "k", "")],
            &["04 'Invalid arguments'", "closed"],
        ),
        (
            "600 KB",
            vec![plain(vec![b'd'; 600_000]), right()],
            &["82 'Out of memory'", "00 'Authenticated'", OPEN],
        ),
    ];
    for opcode in [0x00, 0x01, 0x04, 0x07, 0x08, 0x09, 0x10, 0x17, 0x19, 0x1b, 0x1d, 0x60, 0xee] {
        cases.push(("a stranger's", vec![frame(opcode, &[], "k", "")], &[FAILURE, "closed"]));
    }
    let bad = [
        &b""[..],
        b"\0",
        b"\0sammy",
        b"sammy\0S3cretPw",
        b"\0sammy\0S3cretPw\0",
        b"\0sammy\0S3cretPw\0junk",
        b"\0\0S3cretPw",
        b"\0  \0S3cretPw",
        b"\0sammy\0",
        b"\0Sammy\0S3cretPw",
        b"\0sammy\0s3cretpw",
        b"\0sammy\0S3cretP",
        b"\0sammy\0S3cretPww",
        b"\0nobody\0S3cretPw",
        b"\0sammy@other\0S3cretPw",
        b"other\0sammy\0S3cretPw",
        b"ann@other\0sammy\0S3cretPw",
        b"\0ann\0tea",
        b"\0ann@Other\0tea",
    ];
    cases.extend(bad.map(|data| {
        // No data at all is a login in two steps.
        let said = if data.is_empty() { step(data) } else { plain(data) };
        ("bad data", vec![said, bare(NOOP)], &[FAILURE, FAILURE, "closed"][..])
    }));
    let host = host();
    let good = [
        "sammy\0sammy\0S3cretPw".to_owned(),
        "\0 sammy\t\0S3cretPw".to_owned(),
        format!("\0sammy@{host}\0S3cretPw"),
        format!("sammy@{host}\0sammy\0S3cretPw"),
        format!("sammy\0sammy@{host}\0S3cretPw"),
        "\0ann@other\0tea".to_owned(),
        "ann@other\0ann@other\0tea".to_owned(),
    ];
    let right: &[&str] = &["00 'Authenticated'", "00 ''", OPEN];
    cases.extend(good.map(|data| ("good data", vec![plain(data), bare(NOOP)], right)));
    cases
}

#[test]
fn every_step_is_answered_as_memcached_answers_it() {
    let users = Sasl::in_file("plain");
    for cases in cases().chunks(FEW) {
        let daemon = users.start(&[]);
        for (name, said, expected) in cases {
            assert_eq!(play(&daemon, said), *expected, "{name}: {}", said.concat().escape_ascii());
        }
    }
}

#[test]
fn a_real_memcached_says_the_same() {
    let Some((users, memcached)) = Sasl::beside_memcached() else { return };
    let theirs = users.start_program(&memcached, &[]);
    let (mut n_cmds, mut n_errors) = (0, 0);
    for cases in cases().chunks(FEW) {
        let ours = users.start(&[]);
        for (name, said, expected) in cases {
            let both = (play(&ours, said), play(&theirs, said));
            assert_eq!(both.0, both.1, "{name}: {}", said.concat().escape_ascii());
            assert_eq!(both.0, *expected, "{name}");
        }
        // The login that asks counts too, there only at the end.
        let (cmds, errors) = figures(&ours);
        (n_cmds, n_errors) = (n_cmds + cmds - 1, n_errors + errors);
    }
    assert_eq!((n_cmds + 1, n_errors), figures(&theirs));
    assert!(n_cmds > n_errors && n_errors > 10, "{n_cmds} {n_errors}");
    let ours = users.start(&[]);
    let at_once = [
        vec![right(), set("k", "v"), get("k")],
        vec![plain("\0sammy\0x"), set("k", "v"), get("k")],
    ];
    for said in at_once {
        assert_eq!(play_at_once(&ours, &said), play_at_once(&theirs, &said));
    }
}

/// `auth_cmds` and `auth_errors`.
fn figures(daemon: &Daemon) -> (u64, u64) {
    let mut stream = daemon.connect().unwrap();
    stream.write_all(&right()).unwrap();
    assert_eq!(heard(&mut stream), "00 'Authenticated'");
    let stats = binary_stats(&mut stream);
    (stats["auth_cmds"].parse().unwrap(), stats["auth_errors"].parse().unwrap())
}

#[test]
fn what_comes_behind_a_login_waits_for_it() {
    let users = Sasl::in_file("plain");
    let daemon = users.start(&[]);
    // Hashed 20,000 times, so that all of it is there before the answer is.
    let right = || plain("\0keys\0k");
    let wrong = || plain("\0keys\0x");
    let get = || get("k");
    let (ok, value) = ("00 'Authenticated'", r"00 '\x00\x00\x00\x00v'");
    for (said, expected) in [
        (vec![right(), set("k", "v"), get()], vec![ok, "00 ''", value, "00 version"]),
        (vec![wrong(), set("k", "w"), get()], vec![FAILURE, FAILURE, "closed"]),
        (vec![right(), wrong(), get()], vec![ok, FAILURE, FAILURE, "closed"]),
        (vec![wrong(), right(), get()], vec![FAILURE, ok, value, "00 version"]),
        (vec![right(), bare(SASL_LIST), get()], vec![ok, "00 'PLAIN'", FAILURE, "closed"]),
        (vec![right(), step("x"), get()], vec![ok, FAILURE, FAILURE, "closed"]),
        (vec![right(), plain(""), get()], vec![ok, "21 ''", FAILURE, "closed"]),
    ] {
        assert_eq!(play_at_once(&daemon, &said), expected);
    }
    // Whoever leaves meanwhile leaves nothing behind.
    for _ in 0..50 {
        daemon.connect().unwrap().write_all(&[right(), set("k", "x")].concat()[..40]).unwrap();
    }
    assert_eq!(play_at_once(&daemon, &[right(), get()]), [ok, value, "00 version"]);
}

/// Logs in by a mechanism; what the server said last.
fn log_in(daemon: &Daemon, mechanism: Mechanism, user: &str, password: &str) -> String {
    let mut stream = daemon.connect().unwrap();
    stream.write_all(&bare(SASL_LIST)).unwrap();
    let offered = Answer::read(&mut stream).unwrap().value;
    let mut login = Login::choose(&offered, &[mechanism], user, password).unwrap();
    let (name, mut data, mut opcode) = (login.name().to_owned(), login.initial(), SASL_AUTH);
    loop {
        stream.write_all(&frame(opcode, &[], &name, &data)).unwrap();
        let answer = Answer::read(&mut stream).unwrap();
        match answer.status {
            0x21 => match login.step(&answer.value) {
                Ok(answer) => data = answer,
                Err(error) => return format!("the client: {error}"),
            },
            0 => {
                login.done(b"").unwrap();
                stream.write_all(&bare(NOOP)).unwrap();
                return format!("in, {}", heard(&mut stream));
            }
            status => return format!("{status:02x}"),
        }
        opcode = SASL_STEP;
    }
}

#[test]
fn passwords_need_not_be_sent() {
    let users = Sasl::in_file("scram-sha-256 scram-sha-1 cram-md5 plain");
    let daemon = users.start(&[]);
    assert_eq!(
        play(&daemon, &[bare(SASL_LIST)])[0],
        "00 'SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN'"
    );
    let sha256 = Mechanism::Scram(ScramHash::Sha256);
    for mechanism in
        [sha256, Mechanism::Scram(ScramHash::Sha1), Mechanism::CramMd5, Mechanism::Plain]
    {
        assert_eq!(log_in(&daemon, mechanism, "sammy", "S3cretPw"), "in, 00 ''", "{mechanism:?}");
        for (user, password) in [("sammy", "wrong"), ("nobody", "S3cretPw")] {
            assert_eq!(log_in(&daemon, mechanism, user, password), "20", "{mechanism:?} {user}");
        }
    }
    assert_eq!(log_in(&daemon, sha256, "keys", "k"), "in, 00 ''");
    assert_eq!(log_in(&daemon, sha256, "keys", "x"), "20");
    // Half a login is none.
    let begin = frame(SASL_AUTH, &[], "SCRAM-SHA-256", "n,,n=sammy,r=abcdefghij");
    let answers = play(&daemon, &[begin.clone(), bare(NOOP)]);
    assert!(answers[0].starts_with("21 'r=abcdefghij"), "{answers:?}");
    assert_eq!(answers[1..], [FAILURE, "closed"]);
    let answers = play(&daemon, &[begin, frame(SASL_STEP, &[], "SCRAM-SHA-256", ""), bare(NOOP)]);
    assert_eq!(answers[1..], [FAILURE, FAILURE, "closed"]);
}

#[test]
fn the_log_tells_who_and_not_by_what() {
    let users = Sasl::in_file("plain");
    let daemon = users.start(&["-vvv"]);
    assert_eq!(log_in(&daemon, Mechanism::Plain, "sammy", "S3cretPw"), "in, 00 ''");
    assert_eq!(log_in(&daemon, Mechanism::Plain, "sammy", "S3cretPx"), "20");
    let log = daemon.stderr();
    for line in [
        "Reading configuration from: <",
        "Initialized SASL.",
        "mech:  ``PLAIN'' with 15 bytes of data",
        "sasl result code:  0",
        "sasl result code:  -13",
        "Unknown sasl response:  -13",
        "logged in",
        "log-in failed",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.contains("sammy") && !log.contains("S3cret"), "{log}");
}

#[test]
fn other_protocols_and_broken_frames_get_nothing() {
    let users = Sasl::in_file("plain");
    let daemon = users.start(&["-A"]);
    for said in [
        "v",
        "version\r\n",
        "shutdown\r\n",
        "stats\r\n",
        "set a 0 0 14\r\nsammy S3cretPw\r\n",
        "\r\n",
        "\0",
    ] {
        let mut stream = daemon.connect().unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Closed with input unread is an error to some.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{said}: {}", answer.escape_ascii());
    }
    let mut said = right();
    said[8..12].copy_from_slice(&0x6000_0000u32.to_be_bytes());
    assert_eq!(play(&daemon, &[said]), ["04 'Invalid arguments'", "closed"]);
    let mut said = plain("");
    said[8..12].copy_from_slice(&4u32.to_be_bytes());
    assert_eq!(play(&daemon, &[said]), ["81 'Unknown command'", "closed"]);
    // A password that does not come: the server keeps what was sent, and serves others.
    let mut idle: Vec<_> = (0..100).map(|_| daemon.connect().unwrap()).collect();
    for stream in &mut idle {
        stream.write_all(&right()[..30]).unwrap();
    }
    assert_eq!(play(&daemon, &[right()])[0], "00 'Authenticated'");
}

#[test]
fn who_guesses_waits_and_others_log_in() {
    let users = Sasl::in_file("plain");
    let daemon = users.start(&["-c", "2000"]);
    let wrong = plain("\0sammy\0guess");
    let mut guessers: Vec<_> = (0..200).map(|_| daemon.connect().unwrap()).collect();
    for stream in &mut guessers {
        stream.write_all(&[&wrong[..], &wrong, &wrong].concat()).unwrap();
    }
    // From another address, while most of them wait.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((IpAddr::from([127, 0, 0, 2]), 0)).into()).unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], daemon.port().unwrap()));
    socket.connect(&server.into()).unwrap();
    let mut other = std::net::TcpStream::from(socket);
    other.write_all(&[right(), bare(NOOP)].concat()).unwrap();
    assert_eq!(
        (heard(&mut other), heard(&mut other)),
        ("00 'Authenticated'".into(), "00 ''".into())
    );
    let first: Vec<_> = guessers.iter_mut().map(heard).collect();
    let n_refused = first.iter().filter(|answer| answer.starts_with("84 'too many logins")).count();
    assert!(n_refused > 100, "{n_refused}");
    assert!(first.iter().all(|answer| *answer == FAILURE || answer.starts_with("84")), "{first:?}");
    drop(guessers);
    // Whoever is at their address gets in too, if not at once.
    let get_in = || play(&daemon, &[right()])[0] == "00 'Authenticated'";
    eventually("a right password is right", get_in);
}

#[test]
fn proofs_that_were_got_ready_wait_too() {
    let users = Sasl::in_file("scram-sha-256");
    let daemon = users.start(&["-c", "1000"]);
    let mut guessers: Vec<_> = (0..200).map(|_| daemon.connect().unwrap()).collect();
    let name = "SCRAM-SHA-256";
    for stream in &mut guessers {
        stream.write_all(&frame(SASL_AUTH, &[], name, "n,,n=keys,r=abc")).unwrap();
    }
    // Everybody has a challenge before anybody has failed.
    let nonces: Vec<_> = guessers
        .iter_mut()
        .map(|stream| {
            let challenge = Answer::read(stream).unwrap();
            assert_eq!(challenge.status, 0x21);
            String::from_utf8(challenge.value).unwrap().split(',').next().unwrap().to_owned()
        })
        .collect();
    let proof = format!("{}=", "A".repeat(43));
    for (stream, nonce) in guessers.iter_mut().zip(&nonces) {
        stream
            .write_all(&frame(SASL_STEP, &[], name, format!("c=biws,{nonce},p={proof}")))
            .unwrap();
    }
    let answers: Vec<_> = guessers.iter_mut().map(heard).collect();
    let n_looked_at = answers.iter().filter(|answer| *answer == FAILURE).count();
    assert!(n_looked_at < 100, "{n_looked_at}");
    assert!(answers.iter().all(|it| *it == FAILURE || it.starts_with("84")), "{answers:?}");
}

#[test]
fn users_come_and_go_without_a_signal() {
    let Some(users) = Sasl::in_database() else { return };
    // The file is followed there too, if nothing else can be done.
    let args: &[&str] = if privileges::IS_SUPPORTED { &["-o", "drop_privileges"] } else { &[] };
    let daemon = users.start(args);
    let says = |data: &str| play(&daemon, &[plain(data)])[0].clone();
    let mut early = daemon.connect().unwrap();
    early.write_all(&right()).unwrap();
    assert_eq!(heard(&mut early), "00 'Authenticated'");
    assert_eq!(says("\0new\0word"), FAILURE);
    users.set("new", "word");
    assert_eq!(says("\0new\0word"), "00 'Authenticated'");
    users.delete("sammy");
    eventually("the user is gone", || says("\0sammy\0S3cretPw") == FAILURE);
    early.write_all(&bare(NOOP)).unwrap();
    assert_eq!(heard(&mut early), "00 ''", "who was in stays in");
}

/// Runs the program to its end with `-S`, and what `SASL_CONF_PATH` says.
fn run(args: &[&str], conf_path: Option<&Path>) -> (Option<i32>, String) {
    let mut command = Command::new(NUTHATCHD);
    command.args(["-u", "root", "-p", "-1", "-v", "-S"]).args(args).stdin(Stdio::null());
    command.env_remove("SASL_CONF_PATH").env_remove("MEMCACHED_SASL_PWDB");
    if let Some(path) = conf_path {
        command.env("SASL_CONF_PATH", path);
    }
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.signal(), None);
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_cannot_be_had_ends_the_start() {
    let users = Sasl::in_file("plain");
    for (text, why) in [
        ("nonsense\n", "memcached.conf, line 1: should be 'key: value'"),
        ("mech_list:\n", "line 1"),
        ("pwcheck_method: saslauthd\n", "pwcheck_method can only be auxprop"),
        ("auxprop_plugin: sql\n", "auxprop_plugin can only be sasldb"),
        ("mech_list: gssapi anonymous\n", "mech_list names no mechanism"),
    ] {
        users.configure(text);
        let (code, stderr) = run(&[], Some(users.folder()));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(why) && stderr.contains("\nError initializing sasl."), "{stderr}");
        assert!(
            stderr.contains(&format!("Reading configuration from: <{}>", users.folder().display()))
        );
    }
    for (args, why) in [
        (
            &["-l", "proto[ascii]:127.0.0.1:0"][..],
            "cannot allow the ASCII protocol while using SASL",
        ),
        (&["-B", "ascii"], "cannot allow the ASCII protocol while using SASL"),
        (&["-U", "11211"], "Cannot enable UDP while using binary SASL authentication"),
        (&["-Y", "users"], "choose one"),
    ] {
        let (code, stderr) = run(args, Some(users.folder()));
        assert_eq!(code, Some(64), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }
    if ["/etc/sasl", "/etc/sasl2"]
        .iter()
        .any(|folder| fs::exists(format!("{folder}/memcached.conf")).unwrap())
    {
        return skip("this machine has a configuration of its own");
    }
    let (code, stderr) = run(&[], None);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("Failed to locate a config path\n"), "{stderr}");
    assert!(stderr.contains("\nError initializing sasl."), "{stderr}");
}

#[test]
fn nobody_is_let_in_where_nothing_is_configured() {
    let users = Sasl::empty();
    let daemon = users.start(&["-l", "proto[negotiating]:127.0.0.1:0"]);
    assert!(daemon.stderr().contains("WARNING: negotiating ports are binary only"));
    assert_eq!(play(&daemon, &[bare(SASL_LIST)])[0], "00 'SCRAM-SHA-256 SCRAM-SHA-1 PLAIN'");
    assert_eq!(
        play(&daemon, &[frame(SASL_AUTH, &[], "ANONYMOUS", "me"), plain("\0a\0b")])[..2],
        [FAILURE, FAILURE]
    );
}

#[test]
fn every_listener_asks_with_tls_and_without() {
    let (users, identity) = (Sasl::in_file("plain"), Identity::new());
    let words = format!("{},ssl_ca_cert={}", identity.words(), identity.path("cert.pem").display());
    let list = "notls:127.0.0.1:-1,mtls:127.0.0.1:-1";
    let daemon = users.start(&["-Z", "-o", &words, "-l", list]);
    let log = daemon.stderr();
    let ports = log.lines().filter_map(|line| line.strip_prefix("nuthatchd: listening on tcp:"));
    let ports: Vec<u16> = ports.map(|at| at.rsplit(':').next().unwrap().parse().unwrap()).collect();
    let [over_tls, in_clear, mutual] = ports[..] else { panic!("three ports: {log}") };

    let quit = bare(QUIT);
    let logged_in = [right(), set("k", "v"), quit.clone()].concat();
    let stranger = [set("k", "v"), quit].concat();
    let statuses = |heard: &[u8]| -> Vec<u16> {
        Answer::all(heard).iter().map(|answer| answer.status).collect()
    };
    assert_eq!(statuses(&hear_plain(in_clear, &stranger)), [0x20]);
    assert_eq!(statuses(&hear_plain(in_clear, &logged_in)), [0, 0, 0]);
    assert_eq!(statuses(&identity.hear(over_tls, &stranger).unwrap().0), [0x20]);
    assert_eq!(statuses(&identity.hear(over_tls, &logged_in).unwrap().0), [0, 0, 0]);
    // A password does not make up for what TLS asks: neither in clear, nor without a certificate.
    for said in [&logged_in, &stranger] {
        for port in [over_tls, mutual] {
            assert!(!hear_plain(port, said).starts_with(&[0x81]));
        }
        let heard = identity.hear(mutual, said);
        assert!(heard.is_err() || heard.is_ok_and(|(heard, _)| heard.is_empty()));
    }
    // Nothing of that counts as a login, and only two have stored.
    let ask = [right(), bare(STAT), bare(QUIT)].concat();
    let (heard, _) = identity.hear(over_tls, &ask).unwrap();
    let stats: Vec<_> = Answer::all(&heard[..]).into_iter().map(|answer| answer.body).collect();
    for figure in ["cmd_set2", "auth_cmds3", "auth_errors0"] {
        assert!(stats.iter().any(|body| *body == figure.as_bytes()), "{figure}");
    }
}
