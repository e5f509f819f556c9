//! From addresses to listening sockets, before any runtime or thread exists.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{ListenAddr, ListenProtocol, ListenTls, Listener, Local, Place, napi};

/// What all sockets of one server share.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BindOptions {
    /// How many connections the kernel may hold that have not been accepted yet (`-b`).
    pub backlog: i32,
    /// The permission bits of Unix sockets (`-a`), at most `0o777`.
    pub unix_mask: u32,
    /// The mark that TCP and UDP sockets bear, and the connections accepted from them, for the
    /// system's packet filter (`SO_MARK`; `-o sock_cookie_id`). Setting one takes `CAP_NET_ADMIN`.
    pub mark: Option<u32>,
}

impl Default for BindOptions {
    /// memcached's defaults: 1024 and `0o700`.
    fn default() -> Self {
        Self { backlog: 1024, unix_mask: 0o700, mark: None }
    }
}

impl BindOptions {
    /// Sets the backlog.
    #[must_use]
    pub fn backlog(self, backlog: i32) -> Self {
        Self { backlog, ..self }
    }

    /// Sets the permission bits of Unix sockets.
    #[must_use]
    pub fn unix_mask(self, unix_mask: u32) -> Self {
        Self { unix_mask, ..self }
    }

    /// Sets the mark of TCP and UDP sockets.
    #[must_use]
    pub fn mark(self, mark: Option<u32>) -> Self {
        Self { mark, ..self }
    }
}

/// A listening socket that no runtime knows yet.
#[derive(Debug)]
pub struct Bound {
    pub(crate) socket: ListeningSocket,
    pub(crate) local: Local,
    pub(crate) protocol: Option<ListenProtocol>,
    pub(crate) tag: Option<Arc<str>>,
    pub(crate) tls: Option<ListenTls>,
}

#[derive(Debug)]
pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Bound {
    /// Where it stands, with the port that the kernel picked.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// What its address says it must speak.
    pub fn protocol(&self) -> Option<ListenProtocol> {
        self.protocol
    }

    /// The tag that its address gives to its connections.
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
    }

    /// Whether the system can tell by which queue of the network card a connection came
    /// ([`Accepted::napi_id`](crate::Accepted::napi_id)).
    pub fn knows_napi_ids(&self) -> bool {
        match &self.socket {
            ListeningSocket::Tcp(socket) => napi::incoming(socket).is_ok(),
            ListeningSocket::Unix(_) => true,
        }
    }

    /// What its address says about TLS.
    pub fn tls(&self) -> Option<ListenTls> {
        self.tls
    }

    /// Hands the socket to the tokio runtime it is called in.
    ///
    /// # Errors
    ///
    /// What the system said about registering it.
    ///
    /// # Panics
    ///
    /// Outside a runtime with I/O enabled.
    pub fn into_listener(self) -> io::Result<Listener> {
        Listener::new(self.socket, self.local, self.tag)
    }
}

/// Binds every address: TCP hosts at every address their name has, IPv4 and IPv6 apart.
///
/// Where one of a host's addresses is taken by another program, or of a family that the machine
/// does not have, it is passed over; each entry must end up with one socket at least. With several
/// addresses and port 0, each socket has a port of its own.
///
/// A Unix socket's file that is left from before is removed first, also when a server still uses
/// it, as in memcached.
///
/// # Errors
///
/// [`BindError`] says which address, and what the system said.
pub fn bind(
    addresses: &[ListenAddr],
    default_port: u16,
    options: BindOptions,
) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for ListenAddr { place, protocol, tag, tls } in addresses {
        let mut push = |socket, local| {
            let tag = tag.clone();
            bound.push(Bound { socket, local, protocol: *protocol, tag, tls: *tls });
        };
        match place {
            Place::Tcp { host, port } => {
                let port = port.unwrap_or(default_port);
                each_address(host.as_deref(), port, |address| {
                    let socket = tcp_listener(address, options)?;
                    let local = Local::Tcp(socket.local_addr().map_err(Refusal::Final)?);
                    push(ListeningSocket::Tcp(socket), local);
                    Ok(())
                })?;
            }
            Place::Unix(path) => {
                let socket = bind_unix(path, options).map_err(|source| BindError::Bind {
                    address: path.display().to_string(),
                    source,
                })?;
                push(ListeningSocket::Unix(socket), Local::Unix(path.clone()));
            }
        }
    }
    Ok(bound)
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The host has no address.
    #[error("{host}: {source}")]
    Lookup {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The system refused the address, or every address of the host is taken.
    #[error("{address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The mark could not be set.
    #[error("sock_cookie_id {mark}: {source}")]
    Mark {
        /// The mark.
        mark: u32,
        /// What the system said.
        source: io::Error,
    },
}

impl BindError {
    /// What the system said; memcached's messages end with it.
    pub fn io(&self) -> &io::Error {
        match self {
            Self::Lookup { source, .. } | Self::Bind { source, .. } | Self::Mark { source, .. } => {
                source
            }
        }
    }
}

/// Binds every address of one entry's host; one of them at least must succeed.
pub(crate) fn each_address(
    host: Option<&str>,
    port: u16,
    mut bind_one: impl FnMut(SocketAddr) -> Result<(), Refusal>,
) -> Result<(), BindError> {
    let addresses: Vec<SocketAddr> = match host {
        None => vec![([0u8; 4], port).into(), ([0u16; 8], port).into()],
        Some(host) => (host, port)
            .to_socket_addrs()
            .map_err(|source| BindError::Lookup { host: host.to_owned(), source })?
            .collect(),
    };
    let mut is_bound = false;
    let mut passed_over = None;
    for address in addresses {
        match bind_one(address) {
            Ok(()) => is_bound = true,
            Err(Refusal::PassOver(source)) => passed_over = Some((address, source)),
            Err(Refusal::Final(source)) => {
                return Err(BindError::Bind { address: address.to_string(), source });
            }
            Err(Refusal::Mark(mark, source)) => return Err(BindError::Mark { mark, source }),
        }
    }
    if is_bound {
        return Ok(());
    }
    Err(match passed_over {
        Some((address, source)) => BindError::Bind { address: address.to_string(), source },
        None => BindError::Lookup {
            host: host.unwrap_or("*").to_owned(),
            source: io::Error::other("the name has no address"),
        },
    })
}

/// Why an address was not bound, and whether another address of the same host may stand in.
pub(crate) enum Refusal {
    PassOver(io::Error),
    Final(io::Error),
    /// The mark could not be set.
    Mark(u32, io::Error),
}

/// Makes a socket for an address, unbound, with what all kinds have in common.
pub(crate) fn socket_for(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    options: BindOptions,
) -> Result<Socket, Refusal> {
    let socket = match Socket::new(Domain::for_address(address), kind, Some(protocol)) {
        Ok(socket) => socket,
        // A resolver may name families that the kernel lacks; having no descriptors left is
        // something else.
        Err(error) if error.raw_os_error() == Some(EMFILE) => return Err(Refusal::Final(error)),
        Err(error) => return Err(Refusal::PassOver(error)),
    };
    if address.is_ipv6() {
        // IPv4 has a socket of its own; without this the second of the two finds its port taken.
        socket.set_only_v6(true).map_err(Refusal::PassOver)?;
    }
    if let Some(mark) = options.mark {
        set_mark(&socket, mark).map_err(|error| Refusal::Mark(mark, error))?;
    }
    socket.set_nonblocking(true).map_err(Refusal::Final)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn set_mark(socket: &Socket, mark: u32) -> io::Result<()> {
    socket.set_mark(mark)
}

#[cfg(not(target_os = "linux"))]
fn set_mark(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Binds a socket.
pub(crate) fn bind_to(socket: &Socket, address: SocketAddr) -> Result<(), Refusal> {
    socket.bind(&address.into()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Refusal::PassOver(error),
        // An IPv6 wildcard on a machine whose IPv6 is switched off.
        io::ErrorKind::AddrNotAvailable if address.is_ipv6() && address.ip().is_unspecified() => {
            Refusal::PassOver(error)
        }
        _ => Refusal::Final(error),
    })
}

/// Makes one listening TCP socket.
///
/// memcached also sets `SO_LINGER` to `{0, 0}`, which switches lingering off: the default. (An
/// abortive close would be `{1, 0}`.) So nothing is set here.
fn tcp_listener(address: SocketAddr, options: BindOptions) -> Result<TcpListener, Refusal> {
    let socket = socket_for(address, Type::STREAM, Protocol::TCP, options)?;
    let prepared = socket
        .set_reuse_address(true)
        // Accepted sockets inherit these two.
        .and_then(|()| socket.set_keepalive(true))
        .and_then(|()| socket.set_tcp_nodelay(true));
    prepared.map_err(Refusal::Final)?;
    bind_to(&socket, address)?;
    socket.listen(options.backlog).map_err(Refusal::Final)?;
    Ok(socket.into())
}

/// Makes one listening Unix socket.
///
/// The file's mode is set between `bind` and `listen`: nobody can connect before `listen`, so
/// there is no moment at which too many could, and the umask, which is the whole process's, stays
/// as it is.
fn bind_unix(path: &Path, options: BindOptions) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => fs::remove_file(path)?,
        // Anything else that stands there is not ours to remove; `bind` will say so.
        _ => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(options.unix_mask & 0o777))?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// "Too many open files", the same on every Unix.
const EMFILE: i32 = 24;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        os::unix::net::UnixStream,
    };

    use super::*;

    fn tcp_addr(bound: &Bound) -> SocketAddr {
        match bound.local() {
            Local::Tcp(address) => *address,
            other => panic!("bound {other}"),
        }
    }

    fn parse(list: &str) -> Vec<ListenAddr> {
        ListenAddr::parse_list(list).unwrap()
    }

    #[test]
    fn the_kernel_picks_a_port_and_says_which() {
        let bound = bind(&parse("127.0.0.1:-1"), 11211, BindOptions::default()).unwrap();
        assert_eq!(bound.len(), 1);
        let address = tcp_addr(&bound[0]);
        assert!(address.port() > 0);
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn any_address_is_ipv4_and_ipv6_on_one_port() {
        // A free port is only known by having had it; another program may take it meanwhile.
        for _ in 0..20 {
            let free = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let Ok(bound) = bind(&[ListenAddr::ANY], free, BindOptions::default()) else {
                continue;
            };
            assert!(bound.iter().all(|bound| tcp_addr(bound).port() == free));
            TcpStream::connect(("127.0.0.1", free)).unwrap();
            if TcpListener::bind("[::1]:0").is_ok() {
                assert_eq!(bound.len(), 2, "with IPv6 there are two sockets");
                TcpStream::connect(("::1", free)).unwrap();
            }
            return;
        }
        panic!("no free port in twenty attempts");
    }

    #[test]
    fn a_taken_address_is_passed_over_only_where_another_stands_in() {
        let bound = bind(&parse("127.0.0.1:0"), 0, BindOptions::default()).unwrap();
        let port = tcp_addr(&bound[0]).port();
        let error = bind(&parse("127.0.0.1"), port, BindOptions::default()).unwrap_err();
        assert_eq!(error.io().kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("127.0.0.1:{port}: ")), "{error}");

        // A second entry that is taken is an error although the first one is bound.
        let list = format!("127.0.0.1:0,127.0.0.1:{port}");
        assert!(bind(&parse(&list), 0, BindOptions::default()).is_err());
    }

    #[test]
    fn an_address_of_another_machine_is_an_error() {
        // 192.0.2.0/24 is reserved for documentation.
        let error = bind(&parse("192.0.2.1:0"), 0, BindOptions::default()).unwrap_err();
        assert_eq!(error.io().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_mark_is_set_or_is_an_error() {
        let options = BindOptions::default().mark(Some(7));
        match bind(&parse("127.0.0.1:0"), 0, options) {
            Ok(bound) => {
                let ListeningSocket::Tcp(listener) = &bound[0].socket else { panic!("TCP") };
                let mark = |socket: &TcpListener| socket2::SockRef::from(socket).mark().unwrap();
                assert_eq!(mark(listener), 7);
            }
            // It takes a capability.
            Err(error) => {
                assert_eq!(error.io().kind(), io::ErrorKind::PermissionDenied);
                assert!(error.to_string().starts_with("sock_cookie_id 7: "), "{error}");
            }
        }
    }

    #[test]
    fn a_name_without_an_address_is_an_error() {
        let error = bind(&parse("no-such-host.invalid:0"), 0, BindOptions::default()).unwrap_err();
        assert!(matches!(&error, BindError::Lookup { host, .. } if host == "no-such-host.invalid"));
    }

    #[test]
    fn unix_sockets_have_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for mask in [0o700, 0o660, 0o777, 0o000] {
            let path = folder.path().join(format!("{mask:o}"));
            let options = BindOptions::default().unix_mask(mask);
            let bound = bind(&[ListenAddr::unix(&path)], 0, options).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mask);
            assert_eq!(bound[0].local(), &Local::Unix(path));
        }
    }

    #[test]
    fn a_socket_file_left_from_before_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "closing does not remove it");
        let bound = bind(&[ListenAddr::unix(&path)], 0, BindOptions::default()).unwrap();
        let ListeningSocket::Unix(listener) = &bound[0].socket else { panic!("a Unix socket") };
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        listener.set_nonblocking(false).unwrap();
        let mut byte = [0];
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(false).unwrap();
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "data").unwrap();
        let error = bind(&[ListenAddr::unix(&path)], 0, BindOptions::default()).unwrap_err();
        assert_eq!(error.io().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_an_error() {
        let path = format!("/{}", "x".repeat(200));
        assert!(bind(&[ListenAddr::unix(path)], 0, BindOptions::default()).is_err());
    }
}
