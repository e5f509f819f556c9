//! Clients that misbehave before they are anybody: half handshakes, wrong passwords by the thousand,
//! logins cut off in the middle. The server stays up and small, and serves the others meanwhile.
//!
//! The long versions are behind `NUTHATCH_SOAK`, which `cargo xtask soak` sets.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use nuthatch_server::transport::{ConnectAddr, Stream, tls::ClientTls};
use nuthatch_testkit::Daemon;
use tokio::{net::TcpSocket, runtime::Runtime};

use crate::{
    robustness::is_soak,
    sasl::{PASSWORD, Sasl, USER, get, plain, right, wrong},
    support::{
        Answer, Client, address, bare, binary_stats, eventually, opcode::NOOP, raise_open_files,
        rss_kib, skip, start,
    },
    tls::Identity,
};

/// Who attacks: other addresses of this machine, so that the patience with one is not the
/// patience with another.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
const GUEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What a server may have more of memory after all is over.
const LEFT_KIB: u64 = 24 << 10;

/// What it may take for a connection that is waiting for its login to be looked at: its buffers,
/// and what is known of it. The allocator keeps some of that afterwards, for the next ones.
const CONN_KIB: u64 = 32;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection from one of these addresses; with `rude` it ends with a reset when it is dropped.
fn connect(runtime: &Runtime, daemon: &Daemon, from: Ipv4Addr, rude: bool) -> TcpStream {
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        if rude {
            socket.set_zero_linger().unwrap();
        }
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(address(daemon)).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// The open files of a process, once none is being opened or closed any more.
fn n_files(pid: u32) -> usize {
    let count = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut counts = [usize::MAX, 0];
    for _ in 0..100 {
        counts = [counts[1], count()];
        if counts[0] == counts[1] {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    counts[1]
}

/// What a process has, to be compared with what it has later.
struct Holdings {
    pid: u32,
    n_files: usize,
    memory_kib: u64,
}

impl Holdings {
    fn of(daemon: &Daemon) -> Self {
        let pid = daemon.pid();
        Self { pid, n_files: n_files(pid), memory_kib: rss_kib(pid) }
    }

    /// How much more memory it has now, in KiB.
    fn grown_kib(&self) -> u64 {
        rss_kib(self.pid).saturating_sub(self.memory_kib)
    }

    /// Waits until it has no more open files than it had.
    #[track_caller]
    fn await_files(&self) {
        eventually("their files are closed", || n_files(self.pid) == self.n_files);
    }
}

/// A server that asks for logins, and the one client of it that is in from the start.
struct Rig {
    daemon: Daemon,
    runtime: Runtime,
    early: TcpStream,
    before: Holdings,
}

impl Rig {
    #[track_caller]
    fn start(sasl: &Sasl, args: &[&str]) -> Self {
        let (daemon, runtime) = (sasl.start(args), runtime());
        let mut early = connect(&runtime, &daemon, GUEST, false);
        assert!(logs_in(&mut early));
        eventually("nobody else is there", || figure(&mut early, "curr_connections") == 1);
        let before = Holdings::of(&daemon);
        Self { daemon, runtime, early, before }
    }

    /// Waits until there is nothing left of all others but memory.
    #[track_caller]
    fn await_end(&mut self) {
        eventually("all are gone", || figure(&mut self.early, "curr_connections") == 1);
        self.before.await_files();
    }
}

/// Whether a login is right, from here.
fn logs_in(stream: &mut TcpStream) -> bool {
    stream.write_all(&right()).unwrap();
    Answer::read(stream).unwrap().status == 0
}

/// Whether who is in is served.
fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(&bare(NOOP)).unwrap();
    Answer::read(stream).unwrap().status == 0
}

/// A figure of `stats`, on a connection that has logged in.
fn figure(stream: &mut TcpStream, name: &str) -> u64 {
    binary_stats(stream)[name].parse().unwrap()
}

/// The first thing that a client of TLS says.
fn client_hello() -> Vec<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = thread::spawn(move || {
        let client = ClientTls::builder().danger_accept_any_certificate(true).build().unwrap();
        runtime().block_on(async {
            let at = ConnectAddr::Tcp { host: "127.0.0.1".to_owned(), port };
            let stream = Stream::connect(&at).await.unwrap();
            // There is no server to answer it.
            let _ = client.connect(stream, "cache.example").await;
        });
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).unwrap();
    drop(stream);
    client.join().unwrap();
    [&head[..], &body].concat()
}

#[test]
fn half_handshakes_hold_up_nobody_and_leave_nothing() {
    let n: u64 = if is_soak() { 4000 } else { 200 };
    if raise_open_files() < n + 200 {
        return skip("too few open files are allowed here");
    }
    let identity = Identity::new();
    let daemon = identity.start(&["-c", "12000"]);
    let port = daemon.port().unwrap();
    let stat = |name: &str| -> u64 {
        let stats = identity.text(port, "stats\r\nquit\r\n");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap().trim_end().parse().unwrap()
    };
    eventually("nobody else is there", || stat("curr_connections") == 1);
    let before = Holdings::of(&daemon);
    let hello = client_hello();
    let runtime = runtime();
    let mut half_open = Vec::new();
    for i in 0..n {
        let mut stream = connect(&runtime, &daemon, ATTACKER, i % 2 == 0);
        let said = match i % 4 {
            0 => &[][..],
            1 => &hello[..5],
            2 => &hello[..hello.len() / 2],
            // The server has answered, and waits for the client's end of the handshake.
            _ => &hello,
        };
        stream.write_all(said).unwrap();
        half_open.push(stream);
        if i % 100 == 0 {
            let heard = identity.text(port, "set a 0 0 1\r\nx\r\nget a\r\nquit\r\n");
            assert_eq!(heard, "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n", "after {i}");
        }
    }
    let grown = before.grown_kib();
    eprintln!("{n} half handshakes: {grown} KiB more");
    assert!(grown < LEFT_KIB + CONN_KIB * n, "{grown} KiB");
    drop(half_open);
    eventually("all are gone", || stat("curr_connections") == 1);
    // One at every length of what a client says first.
    for cut in (0..hello.len()).step_by(if is_soak() { 1 } else { 7 }) {
        let mut stream = connect(&runtime, &daemon, ATTACKER, cut % 2 == 0);
        stream.write_all(&hello[..cut]).unwrap();
    }
    // Plain text, and what looks like TLS to its tenth byte.
    for said in [&b"get a\r\n"[..], &[22, 3, 1, 255, 255], &[22, 3, 3, 0, 5, 1, 0, 0, 1, 0]] {
        let mut stream = connect(&runtime, &daemon, ATTACKER, false);
        stream.write_all(said).unwrap();
    }
    eventually("these are gone", || stat("curr_connections") == 1);
    before.await_files();
    let left = before.grown_kib();
    eprintln!("and after them: {left} KiB more");
    assert!(left < LEFT_KIB, "{left} KiB");
    assert_eq!(stat("handler_panics"), 0);
}

/// So many clients, each of which guesses as often as it can without waiting for an answer.
fn guess_in_vain(rig: &mut Rig, n: u64) {
    let Rig { daemon, runtime, early, before } = rig;
    let heard = figure(early, "auth_errors");
    let guesses = wrong().repeat(50);
    let mut attackers = Vec::new();
    for i in 0..n {
        let mut stream = connect(runtime, daemon, ATTACKER, i % 2 == 0);
        stream.write_all(&guesses).unwrap();
        attackers.push(stream);
        if i % 50 == 0 {
            // Who is in is served, and who knows the password gets in.
            assert!(is_served(early));
            let mut late = connect(runtime, daemon, GUEST, false);
            assert!(logs_in(&mut late), "after {i} attackers");
        }
    }
    eventually("they have been heard", || figure(early, "auth_errors") >= heard + 20);
    let grown = before.grown_kib();
    eprintln!("{n} guessing clients: {grown} KiB more");
    assert!(grown < LEFT_KIB + CONN_KIB * n, "{grown} KiB");
    for stream in &mut attackers {
        stream.set_nonblocking(true).unwrap();
        let mut heard = vec![0; 1 << 16];
        match stream.read(&mut heard) {
            Ok(n) => {
                let text = String::from_utf8_lossy(&heard[..n]).into_owned();
                assert!(!text.contains("Authenticated"), "{text:?}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    drop(attackers);
    eventually("all are gone", || figure(early, "curr_connections") == 1);
}

#[test]
fn wrong_passwords_hold_up_nobody_from_elsewhere() {
    let Some(sasl) = Sasl::in_database() else { return };
    let n: u64 = if is_soak() { 4000 } else { 150 };
    if raise_open_files() < n + 200 {
        return skip("too few open files are allowed here");
    }
    let mut rig = Rig::start(&sasl, &["-c", "12000"]);
    // Each time it takes what it took before.
    for _ in 0..if is_soak() { 5 } else { 1 } {
        guess_in_vain(&mut rig, n);
    }
    rig.before.await_files();
    let left = rig.before.grown_kib();
    eprintln!("and after them: {left} KiB more");
    assert!(left < LEFT_KIB + CONN_KIB * n, "{left} KiB");
    let buffers = figure(&mut rig.early, "read_buf_count");
    assert!(buffers < 300, "{buffers} pairs of buffers are kept");
    // Even from there, with the right one; it may have to wait.
    assert!(logs_in(&mut connect(&rig.runtime, &rig.daemon, ATTACKER, false)));
    assert_eq!(figure(&mut rig.early, "handler_panics"), 0);
}

#[test]
fn logins_that_are_cut_off_leave_nothing() {
    let Some(sasl) = Sasl::in_database() else { return };
    let mut rig = Rig::start(&sasl, &[]);
    let login = [right(), get("key")].concat();
    for round in 0..if is_soak() { 100 } else { 2 } {
        for cut in 0..=login.len() {
            let mut stream = connect(&rig.runtime, &rig.daemon, ATTACKER, (round + cut) % 2 == 0);
            stream.write_all(&login[..cut]).unwrap();
        }
        assert!(is_served(&mut rig.early));
    }
    // In two steps, of which the second does not come.
    for i in 0..200 {
        let mut stream = connect(&rig.runtime, &rig.daemon, ATTACKER, i % 2 == 0);
        stream.write_all(&plain("")).unwrap();
        assert_eq!(Answer::read(&mut stream).unwrap().status, 0x21);
    }
    rig.await_end();
    let left = rig.before.grown_kib();
    assert!(left < LEFT_KIB, "{left} KiB");
    assert_eq!(figure(&mut rig.early, "handler_panics"), 0);
}

/// The same with the text protocol's logins.
#[test]
fn text_logins_that_are_cut_off_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, format!("{USER}:{PASSWORD}\n")).unwrap();
    let daemon = start(["-Y", users.to_str().unwrap()]);
    let runtime = runtime();
    let mut early = Client::on(connect(&runtime, &daemon, GUEST, false));
    let token = format!("{USER} {PASSWORD}");
    assert_eq!(early.set("login", token.as_bytes()), "STORED");
    eventually("nobody else is there", || early.number("curr_connections") == 1);
    let before = Holdings::of(&daemon);
    let login = format!("set login 0 0 {}\r\n{token}\r\nget key\r\n", token.len());
    for round in 0..if is_soak() { 100 } else { 2 } {
        for cut in 0..=login.len() {
            let mut stream = connect(&runtime, &daemon, ATTACKER, (round + cut) % 2 == 0);
            stream.write_all(&login.as_bytes()[..cut]).unwrap();
        }
        assert_eq!(early.ask("mn"), "MN");
    }
    eventually("all are gone", || early.number("curr_connections") == 1);
    before.await_files();
    assert_eq!(early.number("handler_panics"), 0);
}

/// Right ones, as when all programs of a site start again at once.
#[test]
fn a_flood_of_logins_is_served() {
    let Some(sasl) = Sasl::in_database() else { return };
    let each = if is_soak() { 2000 } else { 50 };
    let mut rig = Rig::start(&sasl, &[]);
    let daemon = &rig.daemon;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let runtime = runtime();
                for _ in 0..each {
                    assert!(logs_in(&mut connect(&runtime, daemon, ATTACKER, true)));
                }
            });
        }
        for _ in 0..each {
            assert!(is_served(&mut rig.early));
        }
    });
    rig.await_end();
    assert_eq!(figure(&mut rig.early, "auth_errors"), 0);
    assert!(figure(&mut rig.early, "auth_cmds") > 8 * each);
    let left = rig.before.grown_kib();
    eprintln!("{} logins: {left} KiB more", 8 * each);
    assert!(left < LEFT_KIB, "{left} KiB");
}
