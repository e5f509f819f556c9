//! Accepting connections.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use tokio::net::{TcpListener, UnixListener};

use crate::{Local, Peer, Stream, bind::ListeningSocket};

/// A listening socket in a tokio runtime.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    local: Local,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn new(socket: ListeningSocket, local: Local) -> io::Result<Self> {
        let socket = match socket {
            ListeningSocket::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket) => Socket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { socket, local })
    }

    /// Where it stands.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Waits for the next connection.
    ///
    /// Cancel safe: a connection is either returned or still in the kernel's queue.
    ///
    /// # Errors
    ///
    /// What the system said. A connection that ended before it was accepted is not an error; out
    /// of descriptors (`EMFILE`) is, and the connection stays in the queue: wait before the next
    /// call.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            match self.accept_any().await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                other => return other,
            }
        }
    }

    /// Accepts, and takes the connection out of this runtime again: the runtime that serves it
    /// may be another thread's. That costs two `epoll_ctl` calls a connection.
    async fn accept_any(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok(Accepted { socket: Std::Tcp(stream.into_std()?), peer: Peer::Tcp(address) })
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { socket: Std::Unix(stream.into_std()?), peer: Peer::Unix })
            }
        }
    }
}

/// A connection that no runtime knows yet, so that one thread may accept it and another serve it.
#[derive(Debug)]
pub struct Accepted {
    socket: Std,
    peer: Peer,
}

#[derive(Debug)]
enum Std {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Who connected.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Hands the connection to the tokio runtime it is called in.
    ///
    /// # Errors
    ///
    /// What the system said about registering it.
    ///
    /// # Panics
    ///
    /// Outside a runtime with I/O enabled.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self.socket {
            Std::Tcp(socket) => Stream::from_tcp(socket, self.peer),
            Std::Unix(socket) => Stream::from_unix(socket, self.peer),
        }
    }

    /// Sends a few last words, if the kernel takes them at once, and closes.
    pub fn refuse(self, words: &[u8]) {
        // The client may be gone already; there is nobody to tell.
        let _ = match self.socket {
            Std::Tcp(mut socket) => {
                socket.write_all(words).and_then(|()| socket.shutdown(Shutdown::Write))
            }
            Std::Unix(mut socket) => {
                socket.write_all(words).and_then(|()| socket.shutdown(Shutdown::Write))
            }
        };
    }
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Std::Tcp(socket) => socket.as_fd(),
            Std::Unix(socket) => socket.as_fd(),
        }
    }
}
