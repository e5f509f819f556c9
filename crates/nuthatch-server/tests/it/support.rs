//! What the test modules share: running the program, talking to it, looking at its process.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use nuthatch_testkit::{Connection, Daemon};

/// The program under test.
pub(crate) const NUTHATCHD: &str = env!("CARGO_BIN_EXE_nuthatchd");

/// `nuthatchd` with these arguments, on a port of its own.
#[track_caller]
pub(crate) fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Daemon {
    let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
    Daemon::builder(NUTHATCHD).args(args).start().unwrap()
}

/// Runs the program to its end, which it must reach within ten seconds; root must say whom to
/// become, others are not asked.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Output {
    let mut command = Command::new(NUTHATCHD);
    command.args(["-u", "root"]).args(args).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..2000 {
        // What it prints before it ends fits into the pipes.
        if child.try_wait().unwrap().is_some() {
            return child.wait_with_output().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("{args:?} did not end: {:?}", child.wait_with_output());
}

/// The program without anything that [`Daemon`] adds: where to listen is up to the arguments.
/// Killed when dropped.
pub(crate) struct Bare {
    child: Child,
    folder: tempfile::TempDir,
}

impl Bare {
    /// Starts it and waits for its port file.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_as(&[&["-u", "root"], args].concat())
    }

    /// The same without saying whom to become.
    #[track_caller]
    pub(crate) fn start_as(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The port file is written by whomever it becomes.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let stderr = fs::File::create(folder.path().join("stderr")).unwrap();
        let child = Command::new(NUTHATCHD)
            .args(args)
            .env("MEMCACHED_PORT_FILENAME", folder.path().join("ports"))
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let bare = Self { child, folder };
        eventually("the port file is there", || bare.folder.path().join("ports").exists());
        bare
    }

    /// The addresses of its port file, those of IPv4 before those of IPv6.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of("TCP")
    }

    /// The same for UDP.
    pub(crate) fn udp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of("UDP")
    }

    fn addresses_of(&self, transport: &str) -> Vec<SocketAddr> {
        let text = fs::read_to_string(self.folder.path().join("ports")).unwrap();
        let of = |family: &str, host: &str| -> Vec<SocketAddr> {
            let family = format!("{transport} {family}: ");
            let ports = text.lines().filter_map(|line| line.strip_prefix(&family));
            ports.map(|port| format!("{host}:{port}").parse().unwrap()).collect()
        };
        [of("INET", "127.0.0.1"), of("INET6", "[::1]")].concat()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a server listens that [`start`] started.
pub(crate) fn address(daemon: &Daemon) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], daemon.port().expect("it was not asked for a Unix socket")))
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Looks until it is so; ten seconds are enough for anything that is going to be.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("not within ten seconds: {what}");
}

/// A connection that is talked to line by line.
pub(crate) struct Client<S = Connection>(BufReader<S>);

impl Client {
    #[track_caller]
    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self::on(daemon.connect().unwrap())
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn on(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// The next line, without its end; empty at the end of the connection.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next line as it came; empty at the end of the connection.
    #[track_caller]
    pub(crate) fn raw_line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        line
    }

    /// Sends a command and gives the first line of the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
    }

    #[track_caller]
    pub(crate) fn set(&mut self, key: &str, value: &[u8]) -> String {
        let head = format!("set {key} 0 0 {}\r\n", value.len());
        self.send([head.as_bytes(), value, b"\r\n"].concat());
        self.line()
    }

    /// The value of a key, if there is one.
    #[track_caller]
    pub(crate) fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        let head = self.ask(&format!("get {key}"));
        if head == "END" {
            return None;
        }
        let len = head.strip_prefix(&format!("VALUE {key} 0 ")).expect("a value").parse().unwrap();
        let value = self.exactly(len);
        assert_eq!(self.line(), "");
        assert_eq!(self.line(), "END");
        Some(value)
    }

    /// The lines of an answer up to `END`.
    #[track_caller]
    pub(crate) fn lines(&mut self, command: &str) -> Vec<String> {
        let mut lines = vec![self.ask(command)];
        while lines.last().is_some_and(|line| line != "END") {
            lines.push(self.line());
            assert!(lines.len() < 10_000, "{command}: no end");
        }
        lines.pop();
        lines
    }

    /// One line of `stats` or of one of its subcommands.
    #[track_caller]
    pub(crate) fn stat(&mut self, command: &str, name: &str) -> String {
        let lines = self.lines(command);
        let prefix = format!("STAT {name} ");
        let line = lines.iter().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in {lines:#?}")).to_owned()
    }

    /// One number of `stats`.
    #[track_caller]
    pub(crate) fn number(&mut self, name: &str) -> u64 {
        self.stat("stats", name).parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Everything up to the end of the connection.
    #[track_caller]
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        bytes
    }
}

/// Opcodes of the binary protocol.
pub(crate) mod opcode {
    pub(crate) const GET: u8 = 0x00;
    pub(crate) const SET: u8 = 0x01;
    pub(crate) const DELETE: u8 = 0x04;
    pub(crate) const QUIT: u8 = 0x07;
    pub(crate) const FLUSH: u8 = 0x08;
    pub(crate) const NOOP: u8 = 0x0a;
    pub(crate) const VERSION: u8 = 0x0b;
    pub(crate) const STAT: u8 = 0x10;
    pub(crate) const TOUCH: u8 = 0x1c;
    pub(crate) const SASL_LIST: u8 = 0x20;
    pub(crate) const SASL_AUTH: u8 = 0x21;
    pub(crate) const SASL_STEP: u8 = 0x22;
}

/// A request of the binary protocol; the opaque number is the opcode, so that answers show which
/// request they are for.
pub(crate) fn frame(
    opcode: u8,
    extras: &[u8],
    key: impl AsRef<[u8]>,
    value: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = [extras, key.as_ref(), value.as_ref()].concat();
    let mut frame = vec![0x80, opcode];
    frame.extend(u16::try_from(key.as_ref().len()).unwrap().to_be_bytes());
    frame.extend([u8::try_from(extras.len()).unwrap(), 0, 0, 0]);
    frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    frame.extend([0, 0, 0, opcode]);
    frame.extend([0; 8]);
    [frame, body].concat()
}

/// A request that is its opcode and nothing else.
pub(crate) fn bare(opcode: u8) -> Vec<u8> {
    frame(opcode, &[], "", "")
}

/// An answer of the binary protocol.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) opcode: u8,
    pub(crate) status: u16,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Extras, key and value.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The next one; `None` at the end of the connection.
    #[track_caller]
    pub(crate) fn read(stream: &mut impl Read) -> Option<Self> {
        let mut head = [0; 24];
        // A connection that is closed with input left ends with an error.
        stream.read_exact(&mut head).ok()?;
        assert_eq!(head[0], 0x81, "{head:02x?}");
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let len = u32::from_be_bytes(head[8..12].try_into().unwrap());
        let mut body = vec![0; len.try_into().unwrap()];
        stream.read_exact(&mut body).unwrap();
        let (key, value) = body[head[4].into()..].split_at(number(2).into());
        let (key, value) = (key.to_vec(), value.to_vec());
        Some(Self { opcode: head[1], status: number(6), key, value, body })
    }

    /// All of them, up to the end of the connection.
    #[track_caller]
    pub(crate) fn all(mut stream: impl Read) -> Vec<Self> {
        std::iter::from_fn(|| Self::read(&mut stream)).collect()
    }
}

/// All of `stats`, asked by a frame.
#[track_caller]
pub(crate) fn binary_stats(stream: &mut (impl Read + Write)) -> HashMap<String, String> {
    stream.write_all(&bare(opcode::STAT)).unwrap();
    let mut stats = HashMap::new();
    loop {
        let Answer { status, key, value, .. } = Answer::read(stream).unwrap();
        assert_eq!(status, 0);
        if key.is_empty() {
            return stats;
        }
        stats.insert(String::from_utf8(key).unwrap(), String::from_utf8(value).unwrap());
    }
}

/// The pid that a server tells of itself.
#[track_caller]
pub(crate) fn told_pid(stream: impl Read + Write) -> u64 {
    Client::on(stream).number("pid")
}

/// How much memory a process has in RAM, in KiB.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    proc_status(pid, "VmRSS:").trim_end_matches(" kB").parse().unwrap()
}

/// A line of `/proc/PID/status`.
pub(crate) fn proc_status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

/// Allows this process as many open files as the system lets it, and says how many.
pub(crate) fn raise_open_files() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

/// Says that a test has nothing to do here; not an error, so that a bare machine passes.
pub(crate) fn skip(why: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test}: {why}");
}

/// Numbers that look random and are the same each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self((seed << 1 ^ 0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Whether a path is gone; for [`eventually`].
pub(crate) fn is_gone(path: &Path) -> bool {
    !path.exists()
}

/// Python, which some tests write clients in.
pub(crate) fn find_python() -> Option<PathBuf> {
    nuthatch_testkit::find_program("python3")
}
