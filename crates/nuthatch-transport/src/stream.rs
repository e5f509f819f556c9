//! Connections.

use std::{
    fmt,
    future::poll_fn,
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
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{
    ConnectAddr,
    addr::write_ip,
    tls::{Session, TlsInfo},
};

/// A connection in a tokio runtime, plain or [TLS](crate::tls).
///
/// What owns its buffers and says what it wants polls; the `async` functions are for those who have
/// no state machine.
#[derive(Debug)]
pub struct Stream {
    transport: Transport,
    peer: Peer,
}

#[derive(Debug)]
enum Transport {
    Plain(Socket),
    /// On the heap, because most connections of most servers are plain.
    Tls(Box<Session>),
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
                Ok(Self::plain(Socket::Tcp(socket), peer))
            }
            ConnectAddr::Unix(path) => {
                let socket = UnixStream::connect(path).await?;
                Ok(Self::plain(Socket::Unix(socket), Peer::Unix))
            }
        }
    }

    fn plain(socket: Socket, peer: Peer) -> Self {
        Self { transport: Transport::Plain(socket), peer }
    }

    pub(crate) fn from_tcp(socket: net::TcpStream, peer: Peer) -> io::Result<Self> {
        Ok(Self::plain(Socket::Tcp(TcpStream::from_std(socket)?), peer))
    }

    pub(crate) fn from_unix(socket: unix::net::UnixStream, peer: Peer) -> io::Result<Self> {
        Ok(Self::plain(Socket::Unix(UnixStream::from_std(socket)?), peer))
    }

    pub(crate) fn from_tls(session: Session, peer: Peer) -> Self {
        Self { transport: Transport::Tls(Box::new(session)), peer }
    }

    /// The socket of a plain connection; an error for TLS, which is not done twice.
    pub(crate) fn into_plain(self) -> io::Result<(Socket, Peer)> {
        match self.transport {
            Transport::Plain(socket) => Ok((socket, self.peer)),
            Transport::Tls(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "the connection has TLS already"))
            }
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What was agreed; `None` for a plain connection.
    pub fn tls(&self) -> Option<TlsInfo<'_>> {
        match &self.transport {
            Transport::Plain(_) => None,
            Transport::Tls(session) => Some(session.info()),
        }
    }

    /// Waits until some bytes are there and reads them, up to the buffer's length; 0 is the end of
    /// the stream. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`poll_read`](Self::poll_read).
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Sends all of it. Not cancel safe: how much has gone is not known then.
    ///
    /// # Errors
    ///
    /// As [`poll_write`](Self::poll_write).
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let n = poll_fn(|cx| self.poll_write(cx, &slices)).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[n..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Says that no more comes; what the other side sends can still be read. Cancel safe.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| match &mut self.transport {
            Transport::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Tls(session) => session.poll_shutdown(cx),
        })
        .await
    }

    /// Whether something can be read, the end of the stream and errors included; if not, `cx` is
    /// woken when it can. Over TLS it may turn out to be nothing for the reader.
    ///
    /// # Errors
    ///
    /// What the runtime said.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.transport {
            Transport::Plain(socket) => socket.poll_readable(cx),
            Transport::Tls(session) if session.holds_input() => Poll::Ready(Ok(())),
            Transport::Tls(session) => session.socket().poll_readable(cx),
        }
    }

    /// Reads what is there, or arranges to be woken when something is; 0 is the end of the stream,
    /// also where the other side of a TLS connection went without a word.
    ///
    /// A read that does not fill the buffer is taken to have emptied the socket: the next one waits
    /// for new input and costs no system call in between. Over TLS it has emptied what was
    /// deciphered too, so that nothing is left that no readiness would tell of.
    ///
    /// # Errors
    ///
    /// What the system said; [`io::ErrorKind::InvalidData`] for what is not TLS where it must be.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(session) => return session.poll_read(cx, buffer),
        };
        let mut buffer = ReadBuf::new(buffer);
        Pin::new(socket).poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
    }

    /// Writes as much as the kernel takes, in one system call, or arranges to be woken when it
    /// takes something. One buffer is sent as such and not as a list of one.
    ///
    /// Over TLS the buffers share records, and some of what was taken may wait for the kernel:
    /// [`poll_flush`](Self::poll_flush) when there is nothing more to write.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match (&mut self.transport, buffers) {
            (Transport::Plain(socket), [one]) => Pin::new(socket).poll_write(cx, one),
            (Transport::Plain(socket), _) => Pin::new(socket).poll_write_vectored(cx, buffers),
            (Transport::Tls(session), _) => session.poll_write(cx, buffers),
        }
    }

    /// `Ready` when the kernel has all that was written; without TLS it always has. Reading goes on
    /// with it too, so that who reads anyway need not wait here.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Tls(session) => session.poll_flush(cx),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.transport {
            Transport::Plain(socket) => socket.as_fd(),
            Transport::Tls(session) => session.socket().as_fd(),
        }
    }
}

/// A socket of either family.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Waits until there is something to read; its end counts.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    /// Writes what the kernel takes at once.
    pub(crate) fn try_write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(buffers),
            Self::Unix(socket) => socket.try_write_vectored(buffers),
        }
    }
}

/// Calls the same method on whichever socket it is.
macro_rules! each {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match $socket.get_mut() {
            Socket::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Socket::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write_vectored(cx, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown(cx))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
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
