//! Accepting connections.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener};

use crate::{Local, Peer, Stream, bind::ListeningSocket, napi};

/// A listening socket in a tokio runtime.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    local: Arc<Local>,
    tag: Option<Arc<str>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn new(
        socket: ListeningSocket,
        local: Local,
        tag: Option<Arc<str>>,
    ) -> io::Result<Self> {
        let socket = match socket {
            ListeningSocket::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket) => Socket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self { socket, local: Arc::new(local), tag })
    }

    /// Where it stands.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// The tag that its connections bear.
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
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
                let stream = stream.into_std()?;
                let local = match *self.local {
                    // Which of the machine's addresses the client came to, only the connection
                    // knows.
                    Local::Tcp(local) if local.ip().is_unspecified() => {
                        Arc::new(Local::Tcp(stream.local_addr()?))
                    }
                    _ => Arc::clone(&self.local),
                };
                Ok(self.accepted(Std::Tcp(stream), Peer::Tcp(address), local))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let stream = Std::Unix(stream.into_std()?);
                Ok(self.accepted(stream, Peer::Unix, Arc::clone(&self.local)))
            }
        }
    }

    fn accepted(&self, socket: Std, peer: Peer, local: Arc<Local>) -> Accepted {
        Accepted { socket, peer, local, tag: self.tag.clone() }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// A connection that no runtime knows yet, so that one thread may accept it and another serve it.
#[derive(Debug)]
pub struct Accepted {
    socket: Std,
    peer: Peer,
    local: Arc<Local>,
    tag: Option<Arc<str>>,
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

    /// Where the client came to: the address of this machine that it named, also where the listener
    /// stands on all of them.
    pub fn local(&self) -> &Arc<Local> {
        &self.local
    }

    /// The number of the network card's receive queue by which the client came (its NAPI id), 0
    /// where it came by none.
    ///
    /// # Errors
    ///
    /// What the system said; not every one knows.
    pub fn napi_id(&self) -> io::Result<u32> {
        napi::incoming(self)
    }

    /// The tag of its listener.
    pub fn tag(&self) -> Option<&Arc<str>> {
        self.tag.as_ref()
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
