//! TLS as operators set it up and clients meet it.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use nuthatch_server::{
    process::privileges,
    transport::{ConnectAddr, Stream, tls::ClientTls},
};
use nuthatch_testkit::{Daemon, find_program};
use tempfile::TempDir;

use crate::guests::typed;
use crate::support::{Bare, bare, eventually, opcode::VERSION, run, start};

/// A certificate that signs itself, in a folder of its own.
pub(crate) struct Identity(TempDir);

impl Identity {
    pub(crate) fn new() -> Self {
        let identity = Self(tempfile::tempdir().unwrap());
        identity.renew();
        identity
    }

    fn renew(&self) {
        // Some clients check the host they were given, and some the address; and some take no host but
        // one of a certain form.
        let names =
            ["cache.example", "cluster.cfg.test", "localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(self.path("cert.pem"), made.cert.pem()).unwrap();
        fs::write(self.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What follows `-o`.
    pub(crate) fn words(&self) -> String {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        format!("ssl_chain_cert={},ssl_key={}", cert.display(), key.display())
    }

    pub(crate) fn start(&self, more: &[&str]) -> Daemon {
        let words = self.words();
        start([&["-Z", "-o", &words], more].concat())
    }

    /// What a client hears who says all of this and then listens to the end; and by which
    /// certificate it knows the server.
    pub(crate) fn hear(&self, port: u16, said: &[u8]) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let client = ClientTls::builder()
            .roots(self.path("cert.pem"))
            .server_name("cache.example")
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = ConnectAddr::Tcp { host: "127.0.0.1".to_owned(), port };
            let mut stream = client.connect(Stream::connect(&address).await?, "").await?;
            let shown = stream.tls().unwrap().peer_certificate().unwrap().to_vec();
            stream.write_all(said).await?;
            let mut heard = Vec::new();
            let mut buffer = vec![0; 64 << 10];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return Ok((heard, shown)),
                    n => heard.extend_from_slice(&buffer[..n]),
                }
            }
        })
    }

    pub(crate) fn text(&self, port: u16, said: &str) -> String {
        String::from_utf8(self.hear(port, said.as_bytes()).unwrap().0).unwrap()
    }
}

/// The value of a line of `stats`.
pub(crate) fn figure(text: &str, name: &str) -> Option<String> {
    let prefix = format!("STAT {name} ");
    text.lines().find_map(|line| Some(line.strip_prefix(&prefix)?.trim_end().to_owned()))
}

/// What somebody hears who does not speak TLS; an error is the end too.
pub(crate) fn hear_plain(port: u16, said: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(said).unwrap();
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "closed, not kept");
        }
    }
    heard
}

#[test]
fn pipelined_sets_are_all_answered() {
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let port = daemon.port().unwrap();
    let mut said = Vec::new();
    for n in 0..3000 {
        write!(said, "set k{n} 0 0 10\r\n0123456789\r\n").unwrap();
    }
    said.extend_from_slice(b"quit\r\n");
    let (heard, _) = identity.hear(port, &said).unwrap();
    assert!(heard == b"STORED\r\n".repeat(3000));

    let value = "v".repeat(900_000);
    let said = format!("set large 0 0 900000\r\n{value}\r\nget large\r\nquit\r\n");
    let heard = identity.text(port, &said);
    assert!(heard == format!("STORED\r\nVALUE large 0 900000\r\n{value}\r\nEND\r\n"));
}

#[test]
fn who_does_not_speak_tls_is_not_served() {
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let port = daemon.port().unwrap();
    let errors =
        |stats: &str| figure(stats, "ssl_handshake_errors").unwrap().parse::<u64>().unwrap();
    // Whoever waited for the server's start may have looked in, and is an error too once he is gone.
    let mut stats = identity.text(port, "stats\r\nquit\r\n");
    for _ in 0..500 {
        if figure(&stats, "curr_connections").as_deref() == Some("1") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
        stats = identity.text(port, "stats\r\nquit\r\n");
    }
    let before = errors(&stats);
    let binary = bare(VERSION);
    for said in [&b"version\r\n"[..], &binary, b"get a\r\nget b\r\nget c\r\n"] {
        let heard = hear_plain(port, said);
        assert!(heard.len() < 10, "an alert at most: {heard:?}");
    }
    let stats = identity.text(port, "stats\r\nquit\r\n");
    assert_eq!(errors(&stats), before + 3);
    assert_eq!(figure(&stats, "ssl_proto_errors").as_deref(), Some("0"));
    assert_eq!(figure(&stats, "ssl_new_sessions"), None, "that is of the session cache");
    assert!(figure(&stats, "time_since_server_cert_refresh").is_some());
}

#[test]
fn settings_say_how_it_is_set_up() {
    let identity = Identity::new();
    let daemon = identity.start(&["-o", "ssl_wbuf_size=64,ssl_session_cache,ssl_min_version=3"]);
    let port = daemon.port().unwrap();
    let settings = identity.text(port, "stats settings\r\nquit\r\n");
    let cert = identity.path("cert.pem").display().to_string();
    for (name, value) in [
        ("ssl_enabled", "yes"),
        ("ssl_chain_cert", &*cert),
        ("ssl_verify_mode", "0"),
        ("ssl_keyformat", "1"),
        ("ssl_ciphers", "NULL"),
        ("ssl_ca_cert", "NULL"),
        ("ssl_wbuf_size", "65536"),
        ("ssl_session_cache", "yes"),
        ("ssl_kernel_tls", "no"),
        ("ssl_min_version", "tlsv1.3"),
    ] {
        assert_eq!(figure(&settings, name).as_deref(), Some(value), "{name}");
    }
    let stats = identity.text(port, "stats\r\nquit\r\n");
    assert_eq!(figure(&stats, "ssl_new_sessions").as_deref(), Some("2"));
}

#[test]
fn certificates_are_read_again_when_told_to() {
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let port = daemon.port().unwrap();
    let shown = || identity.hear(port, b"quit\r\n").map(|(_, certificate)| certificate);
    let first = shown().unwrap();
    let before = fs::read(identity.path("key.pem")).unwrap();
    fs::write(identity.path("key.pem"), "nothing").unwrap();
    let heard = identity.text(port, "refresh_certs\r\nversion\r\nquit\r\n");
    let prefix = format!("Error loading the key: {} : ", identity.path("key.pem").display());
    assert!(heard.starts_with(&prefix) && heard.ends_with("VERSION 1.6.45\r\n"), "{heard}");
    assert!(shown().unwrap() == first, "what was there stays");
    fs::write(identity.path("key.pem"), before).unwrap();

    let old = ClientTls::builder().danger_accept_any_certificate(true).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = ConnectAddr::Tcp { host: "127.0.0.1".to_owned(), port };
        let stream = Stream::connect(&address).await.unwrap();
        let mut held = old.connect(stream, "cache.example").await.unwrap();
        identity.renew();
        held.write_all(b"refresh_certs\r\nversion\r\n").await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"VERSION 1.6.45\r\n") {
            let mut buffer = [0; 100];
            let n = held.read(&mut buffer).await.unwrap();
            assert!(n > 0, "old connections live on");
            heard.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(heard, b"OK\r\nVERSION 1.6.45\r\n");
    });
    let second = shown().unwrap();
    assert!(second != first);

    identity.renew();
    kill(Pid::from_raw(i32::try_from(daemon.pid()).unwrap()), Signal::SIGHUP).unwrap();
    // Until the server has it, its certificate is not the one to be believed.
    let third = (0..1000).find_map(|_| {
        thread::sleep(Duration::from_millis(10));
        shown().ok()
    });
    assert!(third.is_some_and(|third| third != second));
}

#[test]
fn what_cannot_be_is_said_in_memcached_s_words() {
    let identity = Identity::new();
    let other = Identity::new();
    let words = identity.words();
    let (cert, key) = (identity.path("cert.pem"), other.path("key.pem"));
    let mixed = format!("ssl_chain_cert={},ssl_key={}", cert.display(), key.display());
    let nope = format!("{words},ssl_ciphers=NOPE");
    for (args, code, message) in [
        (&["-Z"][..], 64, "Error loading the certificate chain: (null) : "),
        (&["-Z", "-p", "0"], 64, "ERROR: You cannot enable SSL without a TCP port."),
        (
            &["-Z", "-o", "ssl_chain_cert=/none"],
            64,
            "Error loading the certificate chain: /none : ",
        ),
        (&["-Z", "-o", &mixed], 64, "Error validating the certificate: "),
        (&["-Z", "-o", &nope], 64, "Error setting the provided cipher(s): NOPE"),
        (
            &["-o", "ssl_verify_mode=9"],
            1,
            "Invalid ssl_verify_mode. Use help to see valid options.",
        ),
        (
            &["-o", "ssl_min_version=7"],
            1,
            "Invalid ssl_min_version. Use help to see valid options.",
        ),
        (&["-o", "ssl_keyformat=PEM"], 1, "could not parse argument to ssl_keyformat"),
        (&["-o", "ssl_ca_cert"], 1, "Missing ssl_ca_cert argument"),
        (&["-o", "ssl_kernel_tls"], 64, "Kernel TLS offload is not available"),
        (&["-l", "notls:127.0.0.1"], 64, "'notls' option is valid only when SSL is enabled"),
    ] {
        let output = run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
    }
}

/// What `openssl s_client` prints when it says this.
fn s_client(port: u16, args: &[&str], said: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]).args(args);
    typed(&mut command, said)
}

#[test]
fn openssl_is_served_in_the_versions_there_are() {
    if find_program("openssl").is_none() {
        eprintln!("openssl is not installed: skipped");
        return;
    }
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let port = daemon.port().unwrap();
    let ca = identity.path("cert.pem");
    let verify = ["-CAfile", path(&ca), "-verify_return_error"];
    for version in ["-tls1_2", "-tls1_3"] {
        let args = [&[version][..], &verify].concat();
        let heard = s_client(port, &args, "version\r\nquit\r\n");
        assert!(heard.contains("VERSION 1.6.45"), "{version}: {heard}");
    }
    let heard = s_client(port, &["-tls1_1"], "version\r\nquit\r\n");
    assert!(!heard.contains("VERSION"), "{heard}");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_silent_client_is_let_go() {
    let identity = Identity::new();
    let daemon = identity.start(&["-o", "idle_timeout=1"]);
    let port = daemon.port().unwrap();
    // Nothing, and the beginning of something.
    for said in [&b""[..], &[22, 3, 1]] {
        assert!(hear_plain(port, said).len() < 10);
    }
    let gone = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    gone.shutdown(Shutdown::Both).unwrap();
    assert!(identity.text(port, "version\r\nquit\r\n").starts_with("VERSION"));
}

#[test]
fn listeners_ask_what_their_address_says() {
    let identity = Identity::new();
    let ca = format!("ssl_ca_cert={}", identity.path("cert.pem").display());
    let list = "notls:127.0.0.1:-1,127.0.0.1:-1,btls:127.0.0.1:-1,mtls:127.0.0.1:-1";
    let words = identity.words();
    let server =
        Bare::start(&["-Z", "-o", &words, "-o", &ca, "-o", "ssl_verify_mode=2", "-l", list]);
    let ports: Vec<u16> = server.addresses().iter().map(|address| address.port()).collect();
    let [plain, default, basic, mutual] = ports[..] else { panic!("four ports: {ports:?}") };

    let mut watcher = TcpStream::connect((Ipv4Addr::LOCALHOST, plain)).unwrap();
    watcher.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    watcher.write_all(b"watch connevents\r\n").unwrap();
    let mut heard = Vec::new();
    let mut listen_for = |what: &str| {
        while !String::from_utf8_lossy(&heard).contains(what) {
            let mut buffer = [0; 1000];
            let n = watcher.read(&mut buffer).unwrap();
            assert!(n > 0, "no {what} in {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&buffer[..n]);
        }
    };
    listen_for("OK\r\n");

    assert_eq!(hear_plain(plain, b"version\r\nquit\r\n"), b"VERSION 1.6.45\r\n");
    assert_eq!(identity.text(basic, "version\r\nquit\r\n"), "VERSION 1.6.45\r\n");
    for port in [default, mutual] {
        let heard = identity.hear(port, b"version\r\nquit\r\n");
        // The refusal may be lost with the connection.
        let is_served = heard.is_ok_and(|(text, _)| !text.is_empty());
        assert!(!is_served, "without a certificate");
    }
    listen_for("type=conntlserr fd=");
    listen_for("type=conn_new ");
}

/// Reads until a connection says this.
async fn read_until(stream: &mut Stream, end: &str) -> String {
    let mut heard = Vec::new();
    while !heard.ends_with(end.as_bytes()) {
        let mut buffer = [0; 1000];
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "closed after {}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(heard).unwrap()
}

#[test]
fn half_open_handshakes_keep_nobody_out() {
    const N_HALF_OPEN: usize = 300;
    let identity = Identity::new();
    // Twenty more than there are half-open ones: they take all places for handshakes that would be
    // too many, and nearly all connections.
    let daemon = identity.start(&["-t", "1", "-c", &(N_HALF_OPEN + 20).to_string()]);
    let port = daemon.port().unwrap();
    let client = ClientTls::builder().danger_accept_any_certificate(true).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = ConnectAddr::Tcp { host: "127.0.0.1".to_owned(), port };
        let connect = async || {
            let stream = Stream::connect(&address).await.unwrap();
            client.connect(stream, "cache.example").await.unwrap()
        };
        let mut early = connect().await;
        let half_open: Vec<TcpStream> = (0..N_HALF_OPEN)
            .map(|n| {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                stream.write_all(if n % 2 == 0 { &[] } else { &[22, 3, 1, 2, 0, 1] }).unwrap();
                stream
            })
            .collect();
        // Who is in is served, and who comes is let in.
        early.write_all(b"set a 0 0 1\r\nx\r\n").await.unwrap();
        assert_eq!(read_until(&mut early, "\r\n").await, "STORED\r\n");
        let mut late = connect().await;
        late.write_all(b"get a\r\n").await.unwrap();
        assert_eq!(read_until(&mut late, "END\r\n").await, "VALUE a 0 1\r\nx\r\nEND\r\n");
        // The others are let go until no more than half of the places are taken, and counted.
        let is_closed = |stream: &&TcpStream| {
            stream.set_nonblocking(true).unwrap();
            matches!(stream.peek(&mut [0]), Ok(0))
        };
        eventually("many are let go", || {
            half_open.iter().filter(is_closed).count() >= N_HALF_OPEN / 2 - 20
        });
        late.write_all(b"stats\r\n").await.unwrap();
        let stats = read_until(&mut late, "END\r\n").await;
        let number = |name| figure(&stats, name).unwrap().parse::<usize>().unwrap();
        assert!(number("ssl_handshake_errors") >= N_HALF_OPEN / 2 - 20, "{stats}");
        assert_eq!(number("rejected_connections"), 0);
    });
}

#[test]
fn above_the_limit_there_is_no_plain_text() {
    let identity = Identity::new();
    let daemon = identity.start(&["-c", "1"]);
    let port = daemon.port().unwrap();
    let client = ClientTls::builder().danger_accept_any_certificate(true).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let address = ConnectAddr::Tcp { host: "127.0.0.1".to_owned(), port };
        // Whoever looked whether the server is there may still have the only place.
        let mut only = loop {
            let stream = Stream::connect(&address).await.unwrap();
            match client.connect(stream, "cache.example").await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        only.write_all(b"version\r\n").await.unwrap();
        assert_eq!(read_until(&mut only, "\r\n").await, "VERSION 1.6.45\r\n");
        assert_eq!(hear_plain(port, b""), [21, 3, 3, 0, 2, 2, 80], "an alert, in the clear");
        let refused = client.connect(Stream::connect(&address).await.unwrap(), "cache.example");
        let error = refused.await.unwrap_err().to_string();
        assert!(error.contains("InternalError"), "{error}");
    });
}

#[test]
fn who_has_been_let_in_and_says_nothing_is_let_go_too() {
    let identity = Identity::new();
    let daemon = identity.start(&["-o", "idle_timeout=1"]);
    let port = daemon.port().unwrap();
    let (heard, _) = identity.hear(port, b"version\r\n").unwrap();
    assert_eq!(heard, b"VERSION 1.6.45\r\n", "and then the end");
    let stats = identity.text(port, "stats\r\nquit\r\n");
    assert_eq!(figure(&stats, "idle_kicks").as_deref(), Some("1"));
}

#[test]
fn certificates_are_read_again_when_they_change() {
    let identity = Identity::new();
    for more in [&["-o", "ssl_watch_certs"][..], &["-o", "ssl_watch_certs,drop_privileges"]] {
        if more[1].contains("drop_privileges") && !privileges::IS_SUPPORTED {
            continue;
        }
        let daemon = identity.start(more);
        let port = daemon.port().unwrap();
        let shown = || identity.hear(port, b"quit\r\n").map(|(_, certificate)| certificate);
        let first = shown().unwrap();
        identity.renew();
        eventually("the new one is shown", || shown().is_ok_and(|second| second != first));

        let key = fs::read(identity.path("key.pem")).unwrap();
        fs::write(identity.path("key.pem"), "nothing").unwrap();
        eventually("what is broken is told", || daemon.stderr().contains("Could not reload TLS"));
        assert!(shown().is_ok(), "what was there stays");
        fs::write(identity.path("key.pem"), key).unwrap();
        assert_eq!(daemon.stderr().matches("Could not reload TLS").count(), 1);
    }
}
