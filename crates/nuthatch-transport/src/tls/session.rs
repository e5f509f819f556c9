//! A TLS connection under the interface of a plain one.

use std::{
    fmt,
    io::{self, IoSlice, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{CommonState, HandshakeKind, ProtocolVersion, Reader};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::stream::Socket;

/// A socket and what TLS knows about it. On dropping it tells the peer that no more comes, if the
/// kernel takes that at once.
#[derive(Debug)]
pub(crate) struct Session {
    stream: TlsStream<Socket>,
    /// It has failed: nothing more is said.
    is_broken: bool,
}

impl Session {
    pub(super) fn new(stream: impl Into<TlsStream<Socket>>) -> Self {
        Self { stream: stream.into(), is_broken: false }
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.stream.get_ref().0
    }

    fn state(&self) -> &CommonState {
        self.stream.get_ref().1
    }

    /// Whether there is something to read that the socket does not know of any more: bytes that are
    /// deciphered, or their end.
    pub(crate) fn holds_input(&self) -> bool {
        !self.state().wants_read()
    }

    pub(crate) fn info(&self) -> TlsInfo<'_> {
        TlsInfo { state: self.state() }
    }

    /// Reads all that has come, as far as there is room: what is deciphered is not left here while
    /// the caller waits for more of it. The end of the stream is 0 whether the peer said so or just
    /// went away: memcached's protocols tell themselves where a request ends.
    ///
    /// On the way it sends what an earlier write has left.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.state().wants_write() {
            match self.poll_flush(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        let mut room = ReadBuf::new(buffer);
        match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Poll::Ready(Ok(0));
            }
            done => self.note(done)?,
        }
        let mut n = room.filled().len();
        let mut reader = self.reader();
        while n > 0 && n < buffer.len() {
            match reader.read(&mut buffer[n..]) {
                // The end, or an error, comes again with the next call.
                Ok(0) | Err(_) => break,
                Ok(more) => n += more,
            }
        }
        Poll::Ready(Ok(n))
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let done = ready!(match buffers {
            [one] => stream.poll_write(cx, one),
            _ => stream.poll_write_vectored(cx, buffers),
        });
        Poll::Ready(self.note(done))
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.note(done))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
        Poll::Ready(self.note(done))
    }

    fn note<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        self.is_broken |= done.is_err();
        done
    }

    fn reader(&mut self) -> Reader<'_> {
        match &mut self.stream {
            TlsStream::Client(stream) => stream.get_mut().1.reader(),
            TlsStream::Server(stream) => stream.get_mut().1.reader(),
        }
    }

    /// Says that no more comes, without waiting.
    fn say_goodbye(&mut self) -> io::Result<()> {
        let (_, state) = self.stream.get_mut();
        if state.is_handshaking() {
            return Ok(());
        }
        state.send_close_notify();
        loop {
            let n = match &mut self.stream {
                TlsStream::Client(stream) => {
                    let (socket, connection) = stream.get_mut();
                    connection.write_tls(&mut Unwaiting(socket))?
                }
                TlsStream::Server(stream) => {
                    let (socket, connection) = stream.get_mut();
                    connection.write_tls(&mut Unwaiting(socket))?
                }
            };
            if n == 0 || !self.state().wants_write() {
                return Ok(());
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_broken {
            // The peer may be gone, or read nothing; there is nobody to tell.
            let _ = self.say_goodbye();
        }
    }
}

/// Writes what the kernel takes at once.
struct Unwaiting<'a>(&'a Socket);

impl Write for Unwaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was agreed on a connection.
#[derive(Clone, Copy)]
pub struct TlsInfo<'a> {
    state: &'a CommonState,
}

impl<'a> TlsInfo<'a> {
    /// `TLSv1.2` or `TLSv1.3`, as OpenSSL writes them.
    pub fn version(&self) -> &'static str {
        match self.state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        }
    }

    /// The cipher suite, by its name in the registry of TLS; those of TLS 1.3 begin with `TLS13_`.
    pub fn cipher_suite(&self) -> &'static str {
        self.state.negotiated_cipher_suite().and_then(|it| it.suite().as_str()).unwrap_or("unknown")
    }

    /// Whether an earlier session went on, so that no certificate was looked at this time.
    pub fn is_resumed(&self) -> bool {
        self.state.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that the other side showed, in DER: always a server's, a client's if it had
    /// one. It has been verified as far as the settings ask.
    pub fn peer_certificate(&self) -> Option<&'a [u8]> {
        self.state.peer_certificates()?.first().map(|certificate| certificate.as_ref())
    }
}

impl fmt::Debug for TlsInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("is_resumed", &self.is_resumed())
            .finish_non_exhaustive()
    }
}
