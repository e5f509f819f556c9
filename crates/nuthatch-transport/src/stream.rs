//! Connections.

use std::{
    fmt,
    io::{self, IoSlice},
    net::{self, SocketAddr},
    os::{
        fd::{AsFd, BorrowedFd},
        unix,
    },
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready},
    net::{TcpStream, UnixStream},
};

use crate::{ConnectAddr, addr::write_ip};

/// A connection in a tokio runtime, driven by readiness: wait for it, then try.
///
/// A `try_` call that has nothing to do gives [`io::ErrorKind::WouldBlock`]; wait again. All
/// waiting is cancel safe.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    peer: Peer,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the same method on whichever socket it is.
macro_rules! each {
    ($self:ident, $socket:ident => $call:expr) => {
        match &$self.socket {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
        }
    };
}

impl Stream {
    /// Connects as a client; TCP to the first of the host's addresses that answers, with
    /// `TCP_NODELAY`.
    ///
    /// Cancel safe: a connection that is not returned is closed. There is no time limit; the
    /// caller has the clock.
    ///
    /// # Errors
    ///
    /// What the resolver or the system said.
    pub async fn connect(address: &ConnectAddr) -> io::Result<Self> {
        match address {
            ConnectAddr::Tcp { host, port } => {
                let socket = TcpStream::connect((host.as_str(), *port)).await?;
                socket.set_nodelay(true)?;
                let peer = Peer::Tcp(socket.peer_addr()?);
                Ok(Self { socket: Socket::Tcp(socket), peer })
            }
            ConnectAddr::Unix(path) => {
                let socket = UnixStream::connect(path).await?;
                Ok(Self { socket: Socket::Unix(socket), peer: Peer::Unix })
            }
        }
    }

    pub(crate) fn from_tcp(socket: net::TcpStream, peer: Peer) -> io::Result<Self> {
        Ok(Self { socket: Socket::Tcp(TcpStream::from_std(socket)?), peer })
    }

    pub(crate) fn from_unix(socket: unix::net::UnixStream, peer: Peer) -> io::Result<Self> {
        Ok(Self { socket: Socket::Unix(UnixStream::from_std(socket)?), peer })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Waits until something can be read; the end of the stream and errors count.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub async fn readable(&self) -> io::Result<()> {
        each!(self, socket => socket.readable().await)
    }

    /// Waits until something can be written; errors count.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub async fn writable(&self) -> io::Result<()> {
        each!(self, socket => socket.writable().await)
    }

    /// Waits until either can be done, where `interest` says so.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, socket => socket.ready(interest).await)
    }

    /// Whether something can be read, the end of the stream and errors included; if not, `cx` is
    /// woken when it can.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_read_ready(cx))
    }

    /// Reads what is there, up to the buffer's length; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where nothing is, else what the system said.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, socket => socket.try_read(buffer))
    }

    /// Reads what is there, or arranges to be woken when something is; 0 is the end of the stream.
    ///
    /// Unlike [`try_read`](Self::try_read), a read that does not fill the buffer is taken to have
    /// emptied the socket: the next one waits for new input and costs no system call in between.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let done = match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
        };
        done.map_ok(|()| buffer.filled().len())
    }

    /// Writes as much as the kernel takes, in one system call, or arranges to be woken when it
    /// takes something. One buffer is sent as such and not as a list of one.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (&mut self.socket, buffers) {
            (Socket::Tcp(socket), [one]) => Pin::new(socket).poll_write(cx, one),
            (Socket::Tcp(socket), _) => Pin::new(socket).poll_write_vectored(cx, buffers),
            (Socket::Unix(socket), [one]) => Pin::new(socket).poll_write(cx, one),
            (Socket::Unix(socket), _) => Pin::new(socket).poll_write_vectored(cx, buffers),
        }
    }

    /// Writes from several buffers as much as the kernel takes, in one system call.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where it takes nothing, else what the system said.
    pub fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, socket => socket.try_write_vectored(buffers))
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, socket => socket.as_fd())
    }
}

/// Who is at the other end of a connection; prints as `stats conns` writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "callers ask which it is")]
pub enum Peer {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A process of this machine; it has no address.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write_ip(f, "tcp", *address),
            Self::Unix => f.write_str("unix:"),
        }
    }
}
