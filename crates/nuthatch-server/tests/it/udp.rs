//! Requests over UDP.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    process::Command,
    time::Duration,
};

use nuthatch_server::proto::udp::{Assembly, DATAGRAM_LEN_MAX, request_header};
use nuthatch_testkit::find_program;

use crate::support::{Bare, Client};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(10);

struct Udp {
    socket: UdpSocket,
    next_id: u16,
}

impl Udp {
    fn to(server: SocketAddr) -> Self {
        let any: SocketAddr =
            if server.is_ipv4() { "0.0.0.0:0".parse().unwrap() } else { "[::]:0".parse().unwrap() };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, next_id: 0x1234 }
    }

    fn send(&mut self, request: impl AsRef<[u8]>) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        let datagram = [&request_header(self.next_id)[..], request.as_ref()].concat();
        self.socket.send(&datagram).unwrap();
        self.next_id
    }

    /// The next datagram, whole.
    #[track_caller]
    fn receive(&self) -> Vec<u8> {
        let mut datagram = vec![0; 64 << 10];
        let len = self.socket.recv(&mut datagram).expect("an answer");
        datagram.truncate(len);
        datagram
    }

    /// The answer to a request, put together.
    #[track_caller]
    fn ask_bytes(&mut self, request: impl AsRef<[u8]>) -> Vec<u8> {
        let id = self.send(request);
        let mut assembly = Assembly::new(id, 16 << 20);
        loop {
            let datagram = self.receive();
            assert!(datagram.len() <= DATAGRAM_LEN_MAX);
            assert_eq!(datagram[6..8], [0, 0]);
            if let Some(answer) = assembly.take(&datagram) {
                return answer;
            }
        }
    }

    #[track_caller]
    fn ask(&mut self, request: &str) -> String {
        String::from_utf8(self.ask_bytes(request)).unwrap()
    }
}

/// A server on IPv4 loopback, TCP and UDP.
fn start(args: &[&str]) -> (Bare, Client<TcpStream>, Udp) {
    let bare = Bare::start(&[&["-p", "-1", "-U", "-1"], args].concat());
    let tcp = Client::on(TcpStream::connect(bare.addresses()[0]).unwrap());
    let udp = Udp::to(bare.udp_addresses()[0]);
    (bare, tcp, udp)
}

#[test]
fn requests_are_answered() {
    let (_bare, mut tcp, mut udp) = start(&[]);
    assert_eq!(udp.ask("set a 0 0 3\r\nabc\r\n"), "STORED\r\n");
    assert_eq!(tcp.get("a").unwrap(), b"abc");
    assert_eq!(udp.ask("get a\r\n"), "VALUE a 0 3\r\nabc\r\nEND\r\n");
    assert_eq!(udp.ask("mg a v s\r\n"), "VA 3 s3\r\nabc\r\n");
    assert_eq!(udp.ask("delete a\r\n"), "DELETED\r\n");
    assert_eq!(udp.ask("frob\r\n"), "ERROR\r\n");
    assert_eq!(udp.ask("verbosity 0\r\nmn\r\n"), "OK\r\nMN\r\n");
    assert!(udp.ask("stats\r\n").ends_with("END\r\n"));
    // Nothing is said to who asks for that, and the next one is heard.
    udp.send("set a 0 0 1 noreply\r\nx\r\n");
    udp.send("quit\r\n");
    assert_eq!(udp.ask("get a\r\n"), "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn all_that_one_request_says_is_numbered_as_one_answer() {
    // Values longer than a datagram, and one that is sent from where it lies; no longer than what a
    // socket holds for a client that takes its time.
    let (_bare, mut tcp, mut udp) = start(&[]);
    let values = [vec![b'a'; 3000], vec![b'b'; 10], vec![b'c'; 60_000]];
    let mut expected = Vec::new();
    for (key, value) in ["a", "b", "c"].iter().zip(&values) {
        assert_eq!(tcp.set(key, value), "STORED");
        expected.extend_from_slice(format!("VALUE {key} 0 {}\r\n", value.len()).as_bytes());
        expected.extend_from_slice(value);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(b"END\r\n");
    assert!(udp.ask_bytes("get a b c\r\n") == expected);
    // Two commands are one request too.
    assert_eq!(
        udp.ask("get b\r\ndelete b\r\n"),
        "VALUE b 0 10\r\nbbbbbbbbbb\r\nEND\r\nDELETED\r\n"
    );
}

#[test]
fn what_is_no_request_is_passed_over() {
    let (_bare, _tcp, mut udp) = start(&[]);
    for datagram in [
        &b""[..],
        b"version\r\n",
        b"\0\0\0\0\0\x01\0\0",
        b"\0\0\0\0\0\x02\0\0version\r\n",
        b"\0\0\0\0\0\0\0\0version\r\n",
        // No line end; an announced value that does not come; half a value.
        b"\0\0\0\0\0\x01\0\0version",
        b"\0\0\0\0\0\x01\0\0set a 0 0 5\r\n",
        b"\0\0\0\0\0\x01\0\0set a 0 0 100000\r\nabc",
    ] {
        udp.socket.send(datagram).unwrap();
    }
    // The first thing that comes back is the answer to what was a request.
    let id = udp.send("get a\r\n");
    let answer = udp.receive();
    assert_eq!(answer, [&request_header(id)[..], b"END\r\n"].concat());
    // Of a datagram that breaks off, what is whole is answered.
    assert_eq!(udp.ask("mn\r\nset a 0 0 5\r\nab"), "MN\r\n");
    assert_eq!(udp.ask("get a\r\n"), "END\r\n");
}

#[test]
fn the_largest_datagram_is_one_request() {
    let (_bare, mut tcp, mut udp) = start(&[]);
    let value = vec![b'x'; 65_000];
    let set = [&b"set a 0 0 65000\r\n"[..], &value, b"\r\n"].concat();
    assert_eq!(udp.ask_bytes(set), b"STORED\r\n");
    assert!(tcp.get("a").unwrap() == value);
    // Thousands of commands in one.
    let many = "mn\r\n".repeat(16_000);
    assert_eq!(udp.ask(&many), "MN\r\n".repeat(16_000));
}

#[test]
fn what_has_no_end_is_refused() {
    let (_bare, mut tcp, mut udp) = start(&["-m", "64", "-I", "32m"]);
    const REFUSED: &str = "SERVER_ERROR not available over UDP\r\n";
    assert_eq!(tcp.set("a", b"x"), "STORED");
    assert_eq!(udp.ask("lru_crawler metadump all\r\n"), REFUSED);
    assert_eq!(udp.ask("lru_crawler mgdump all\r\n"), REFUSED);
    // Whoever dumps over TCP finds nobody else dumping.
    let dump = tcp.lines("lru_crawler metadump all");
    assert!(dump.iter().any(|line| line.starts_with("key=a ")), "{dump:?}");
    // A value that is there, and too long.
    assert_eq!(tcp.set("large", &vec![b'x'; 9 << 20]), "STORED");
    assert_eq!(udp.ask("get large\r\n"), "SERVER_ERROR answer too large for UDP\r\n");
    assert_eq!(udp.ask("touch large 0\r\n"), "TOUCHED\r\n");
}

/// An address of this machine that is not loopback: what comes from there might be from anywhere.
fn outside() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Asks for a route, and sends nothing; the address is reserved for documentation.
    socket.connect("198.51.100.1:9").ok()?;
    match socket.local_addr().unwrap().ip() {
        std::net::IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    }
}

#[test]
fn nobody_is_sent_much_more_than_he_seems_to_have_asked_for() {
    let Some(outside) = outside() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    const REFUSED: &str = "SERVER_ERROR answer too large for this address, see udp_trust\r\n";
    let bare = Bare::start(&["-p", "-1", "-U", "-1", "-l", "0.0.0.0"]);
    assert!(bare.stderr().contains("-o udp_trust"), "{}", bare.stderr());
    let port = bare.udp_addresses()[0].port();
    let mut udp = Udp::to((outside, port).into());
    for len in [10, 86, 87, 1000, 100_000] {
        let value = "x".repeat(len);
        let head = format!("set a 0 0 {len} noreply\r\n");
        Client::on(TcpStream::connect(bare.addresses()[0]).unwrap())
            .send(format!("{head}{value}\r\nquit\r\n"));
        let whole = format!("VALUE a 0 {len}\r\n{value}\r\nEND\r\n");
        crate::support::eventually("it is stored", || {
            Udp::to((Ipv4Addr::LOCALHOST, port).into()).ask("get a\r\n") == whole
        });
        // Up to 128 bytes to the shortest question, header included …
        let fits = whole.len() + 8 <= 128;
        assert_eq!(udp.ask("get a\r\n"), if fits { &whole } else { REFUSED }, "{len}");
        // … and three times a longer one.
        let long = format!("get {}a\r\n", " ".repeat(493 - 8 - 7));
        let fits = whole.len() + 2 * 8 <= 3 * 493;
        assert_eq!(udp.ask(&long), if fits { &whole } else { REFUSED }, "{len}");
    }
    assert_eq!(udp.ask("stats\r\n"), REFUSED);
    // What comes of small requests by the hundred is one answer.
    assert_eq!(udp.ask(&"gets a\r\n".repeat(20)), REFUSED);

    let trusted = format!("udp_trust=203.0.113.0/24+{outside}");
    let bare = Bare::start(&["-p", "0", "-U", "-1", "-l", "0.0.0.0", "-o", &trusted]);
    assert!(!bare.stderr().contains("-o udp_trust"), "{}", bare.stderr());
    let mut udp = Udp::to((outside, bare.udp_addresses()[0].port()).into());
    assert!(udp.ask("stats\r\n").ends_with("END\r\n"));
}

#[test]
fn every_worker_and_address_is_served() {
    let bare = Bare::start(&["-p", "0", "-U", "-1", "-l", "127.0.0.1,127.0.0.2,::1"]);
    assert_eq!(bare.addresses(), [], "-p 0 is no TCP");
    let ports = bare.udp_addresses();
    assert_eq!(ports.len(), 3);
    let second = SocketAddr::from(([127, 0, 0, 2], ports[1].port()));
    for server in [ports[0], second, ports[2]] {
        // Which worker answers, the kernel says by the client's port.
        for _ in 0..20 {
            assert_eq!(Udp::to(server).ask("version\r\n"), "VERSION 1.6.45\r\n");
        }
    }
    let mut udp = Udp::to(ports[0]);
    let stats = udp.ask("stats\r\n");
    // Three addresses, four workers each.
    assert!(stats.contains("STAT curr_connections 12\r\n"), "{stats}");
    assert!(stats.contains("STAT total_connections 12\r\n"), "{stats}");
    assert!(udp.ask("stats settings\r\n").contains("STAT udpport -1\r\nSTAT inter 127.0.0.1,"));
}

#[test]
fn a_port_that_another_server_has_is_not_shared_with_it() {
    let (bare, _tcp, _udp) = start(&[]);
    let port = bare.udp_addresses()[0].port().to_string();
    let output = crate::support::run(&["-p", "0", "-U", &port]);
    assert_eq!(output.status.code(), Some(71));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("failed to listen on UDP port {port}: ")), "{stderr}");
}

#[test]
fn netcat_finds_it() {
    let Some(nc) = find_program("nc") else {
        eprintln!("skipped: nc is not installed");
        return;
    };
    let bare = Bare::start(&["-p", "0", "-U", "-1", "-l", "127.0.0.1,::1"]);
    for (server, family) in bare.udp_addresses().iter().zip(["-4", "-6"]) {
        let (ip, port) = (server.ip().to_string(), server.port().to_string());
        let output = Command::new(&nc).args([family, "-u", &ip, &port, "-vz"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("succeeded"), "{output:?}");
    }
}
