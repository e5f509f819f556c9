//! Sockets from a service manager, and what it is told.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use nuthatch_server::proto::udp::request_header;

use crate::support::{Client, NUTHATCHD, signal};

const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the server as a service manager does: the sockets are descriptors from 3 on, and the
/// environment says for which process. Two of the standard streams carry them there.
fn activate(sockets: [OwnedFd; 2], n_sockets: u8, args: &str) -> Command {
    let script = format!(
        "exec 3<&0 4<&1 </dev/null >/dev/null; \
         LISTEN_PID=$$ LISTEN_FDS={n_sockets} LISTEN_FDNAMES=one:two \
         exec {NUTHATCHD} -u root {args}"
    );
    let [first, second] = sockets;
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(first).stdout(second).stderr(Stdio::piped());
    command
}

/// A manager's end of the readiness protocol.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut buffer = [0; 256];
        let len = self.0.recv(&mut buffer).expect("word from the server");
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }
}

/// Killed when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn inherited_sockets_are_served_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp_address, udp_address) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    // A client that comes before the server is served by it.
    let early = TcpStream::connect(tcp_address).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let child = activate([tcp.into(), udp.into()], 2, &format!("-p {port} -l 127.0.0.1"))
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .env("MEMCACHED_PORT_FILENAME", folder.path().join("ports"))
        .spawn()
        .unwrap();
    let started = Started(child);
    // Had it opened the port of `-p`, it would have failed.
    assert_eq!(manager.hears(), format!("READY=1\nMAINPID={}", started.0.id()));
    assert_eq!(Client::on(early).ask("mn"), "MN");
    let mut client = Client::on(TcpStream::connect(tcp_address).unwrap());
    assert_eq!(client.ask("set a 0 0 1\r\nx"), "STORED");
    let asks = UdpSocket::bind("127.0.0.1:0").unwrap();
    asks.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = [&request_header(1)[..], b"get a\r\n"].concat();
    asks.send_to(&request, udp_address).unwrap();
    let mut answer = [0; 100];
    let len = asks.recv(&mut answer).unwrap();
    assert_eq!(&answer[8..len], b"VALUE a 0 1\r\nx\r\nEND\r\n");
    let ports = std::fs::read_to_string(folder.path().join("ports")).unwrap();
    let (tcp, udp) = (tcp_address.port(), udp_address.port());
    assert_eq!(ports, format!("TCP INET: {tcp}\nUDP INET: {udp}\n"));

    signal(started.0.id(), Signal::SIGHUP);
    assert!(manager.hears().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(manager.hears().starts_with("READY=1\n"));
    signal(started.0.id(), Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
    let mut started = started;
    assert_eq!(started.0.wait().unwrap().code(), Some(0));
}

#[test]
fn a_path_can_be_inherited_too() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let spare = TcpListener::bind("127.0.0.1:0").unwrap();
    let child = activate([unix.into(), spare.into()], 1, "-o drop_privileges")
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .spawn()
        .unwrap();
    let started = Started(child);
    assert!(manager.hears().starts_with("READY=1\n"));
    let mut client = Client::on(UnixStream::connect(&path).unwrap());
    let conns = client.lines("stats conns");
    let listener = format!("addr unix:{}", path.display());
    assert!(conns.iter().any(|line| line.ends_with(&listener)), "{conns:?}");
    // Also without the right to open sockets it says when it ends.
    signal(started.0.id(), Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
}

#[test]
fn what_cannot_be_served_is_refused() {
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();
    let spare = || OwnedFd::from(listener());
    let connection = || {
        let listener = listener();
        OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    let (datagram, _) = UnixDatagram::pair().unwrap();
    let refused = |first: OwnedFd, args: &str, code: i32, message: &str| {
        let output = activate([first, spare()], 2, args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(message), "{stderr}");
    };
    refused(connection(), "", 71, "inherited socket 1 (one): a connection, not a listener");
    refused(datagram.into(), "", 71, "inherited socket 1 (one): neither TCP, nor UDP");
    refused(spare(), "-d", 64, "-d cannot be used with sockets from a service manager");
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let child = Command::new(NUTHATCHD)
        .args(["-u", "root", "-p", "-1"])
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _started = Started(child);
    assert!(manager.hears().starts_with("READY=1\n"));
}

#[test]
fn a_daemon_says_which_process_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let pidfile = folder.path().join("pid");
    let status = Command::new(NUTHATCHD)
        .args(["-u", "root", "-p", "-1", "-d", "-P"])
        .arg(&pidfile)
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid = std::fs::read_to_string(&pidfile).unwrap();
    assert_eq!(manager.hears(), format!("READY=1\nMAINPID={}", pid.trim()));
    signal(pid.trim().parse().unwrap(), Signal::SIGTERM);
    assert_eq!(manager.hears(), "STOPPING=1");
}
