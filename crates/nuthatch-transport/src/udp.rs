//! UDP: sockets that receive requests from anybody and send answers back.
//!
//! Several sockets can share one address, one for each worker: the kernel then chooses one by the
//! sender's address and port (`SO_REUSEPORT`), so that a client's requests are answered in turn and
//! no two workers are woken for one datagram.

use std::{
    io,
    net::{self, SocketAddr},
    num::NonZeroUsize,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use socket2::{Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

use crate::{
    BindError, BindOptions, ListenAddr, ListenProtocol, Local, Place,
    bind::{Refusal, bind_to, each_address, socket_for},
};

/// How much the kernel is asked to hold of what has not been sent, in bytes; it grants what its
/// own limit allows (`net.core.wmem_max`). An answer of many datagrams is sent in one go.
const SEND_BUFFER_MAX: usize = 256 << 20;

/// A UDP socket that no runtime knows yet.
#[derive(Debug)]
pub struct BoundUdp {
    socket: net::UdpSocket,
    local: Local,
    protocol: Option<ListenProtocol>,
    tag: Option<Arc<str>>,
}

impl BoundUdp {
    /// A socket that somebody else has bound.
    pub(crate) fn inherited(socket: net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        maximise_send_buffer(&SockRef::from(&socket));
        let local = Local::Udp(socket.local_addr()?);
        Ok(Self { socket, local, protocol: None, tag: None })
    }

    /// Where it stands, with the port that the kernel picked.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// What its address says it must speak.
    pub fn protocol(&self) -> Option<ListenProtocol> {
        self.protocol
    }

    /// The tag that its address has.
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
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
    pub fn into_endpoint(self) -> io::Result<Endpoint> {
        let socket = UdpSocket::from_std(self.socket)?;
        Ok(Endpoint { socket, local: Arc::new(self.local), tag: self.tag })
    }
}

/// Binds every address to UDP, each to so many sockets. Paths of Unix sockets are passed over.
///
/// As [`bind`](crate::bind()), with one difference: an address that another program has is taken,
/// also where that program would share it. (memcached sets `SO_REUSEADDR`, with which two servers
/// on one UDP port both start, and one of them hears nothing.)
///
/// # Errors
///
/// [`BindError`] says which address, and what the system said.
pub fn bind_udp(
    addresses: &[ListenAddr],
    default_port: u16,
    sockets_each: NonZeroUsize,
    options: BindOptions,
) -> Result<Vec<BoundUdp>, BindError> {
    let mut bound = Vec::new();
    for ListenAddr { place, protocol, tag, .. } in addresses {
        let Place::Tcp { host, port } = place else { continue };
        each_address(host.as_deref(), port.unwrap_or(default_port), |address| {
            let sockets = share(address, sockets_each, options)?;
            for socket in sockets {
                let local = Local::Udp(socket.local_addr().map_err(Refusal::Final)?);
                bound.push(BoundUdp { socket, local, protocol: *protocol, tag: tag.clone() });
            }
            Ok(())
        })?;
    }
    Ok(bound)
}

/// Binds so many sockets to one address.
fn share(
    address: SocketAddr,
    n_sockets: NonZeroUsize,
    options: BindOptions,
) -> Result<Vec<net::UdpSocket>, Refusal> {
    // The first one finds out whether the address is free: sharing is allowed only afterwards, so
    // it takes nobody else's.
    let first = udp_socket(address, options)?;
    bind_to(&first, address)?;
    let first = net::UdpSocket::from(first);
    if n_sockets.get() == 1 {
        return Ok(vec![first]);
    }
    let address = first.local_addr().map_err(Refusal::Final)?;
    allow_sharing(&first.as_fd()).map_err(Refusal::Final)?;
    let mut sockets = vec![first];
    for _ in 1..n_sockets.get() {
        let socket = udp_socket(address, options)?;
        allow_sharing(&socket.as_fd()).map_err(Refusal::Final)?;
        bind_to(&socket, address)?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn allow_sharing(socket: &BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(socket).set_reuse_port(true)
}

fn udp_socket(address: SocketAddr, options: BindOptions) -> Result<Socket, Refusal> {
    let socket = socket_for(address, Type::DGRAM, Protocol::UDP, options)?;
    maximise_send_buffer(&socket);
    Ok(socket)
}

/// Linux grants what it can; other systems refuse what is too much.
fn maximise_send_buffer(socket: &Socket) {
    let mut bytes = SEND_BUFFER_MAX;
    // A socket keeps what it had if nothing larger is granted.
    let present = socket.send_buffer_size().unwrap_or(0);
    while bytes > present && socket.set_send_buffer_size(bytes).is_err() {
        bytes /= 2;
    }
}

/// A UDP socket in a tokio runtime, driven by readiness like a [`Stream`](crate::Stream).
#[derive(Debug)]
pub struct Endpoint {
    socket: UdpSocket,
    local: Arc<Local>,
    tag: Option<Arc<str>>,
}

impl Endpoint {
    /// Where it stands.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
    }

    /// Waits until a datagram can be received; errors count. Cancel safe.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Receives a datagram, as much of it as the buffer has room for, and says from whom.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where there is none, else what the system said; the socket
    /// goes on all the same.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.try_recv_from(buffer)
    }

    /// Sends a datagram, waiting until there is room for it. Cancel safe: it is sent as a whole or
    /// not at all.
    ///
    /// # Errors
    ///
    /// What the system said; the socket goes on all the same.
    pub async fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(datagram, to).await.map(drop)
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Vec<ListenAddr> {
        ListenAddr::parse_list(list).unwrap()
    }

    fn address(bound: &BoundUdp) -> SocketAddr {
        let Local::Udp(address) = bound.local() else { panic!("UDP was asked for") };
        *address
    }

    const ONE: NonZeroUsize = NonZeroUsize::MIN;
    const THREE: NonZeroUsize = ONE.saturating_add(2);

    #[test]
    fn sockets_share_an_address_that_the_kernel_picked() {
        let bound = bind_udp(&parse("127.0.0.1:0"), 0, THREE, BindOptions::default()).unwrap();
        assert_eq!(bound.len(), 3);
        let first = address(&bound[0]);
        assert!(first.port() > 0);
        assert!(bound.iter().all(|bound| address(bound) == first));
        assert_eq!(bound[0].local().to_string(), format!("udp:{first}"));
        // Whatever is sent there comes to exactly one of them.
        let client = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", first).unwrap();
        let mut buffer = [0; 8];
        for _ in 0..1000 {
            let n_received =
                bound.iter().filter(|bound| bound.socket.recv_from(&mut buffer).is_ok()).count();
            if n_received > 0 {
                assert_eq!(n_received, 1);
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("nobody received it");
    }

    #[test]
    fn a_taken_port_is_an_error_even_between_servers_that_share() {
        let options = BindOptions::default();
        let bound = bind_udp(&parse("127.0.0.1:0"), 0, THREE, options).unwrap();
        let list = format!("127.0.0.1:{}", address(&bound[0]).port());
        for n_sockets in [ONE, THREE] {
            let error = bind_udp(&parse(&list), 0, n_sockets, options).unwrap_err();
            assert_eq!(error.io().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn every_address_has_its_sockets_and_paths_have_none() {
        let list = parse("127.0.0.1,proto[ascii]:tag[x]:127.0.0.2,/no/socket");
        let bound = bind_udp(&list, 0, THREE, BindOptions::default()).unwrap();
        assert_eq!(bound.len(), 6);
        assert_eq!((bound[0].protocol(), bound[0].tag()), (None, None));
        assert_eq!(bound[5].protocol(), Some(ListenProtocol::Ascii));
        assert_eq!(bound[5].tag().map(|tag| &**tag), Some("x"));
    }

    #[test]
    fn the_kernel_holds_much_of_what_is_to_be_sent() {
        let plain = net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = bind_udp(&parse("127.0.0.1:0"), 0, ONE, BindOptions::default()).unwrap();
        let size = |socket: &net::UdpSocket| SockRef::from(socket).send_buffer_size();
        assert!(size(&bound[0].socket).unwrap() >= size(&plain).unwrap());
    }
}
