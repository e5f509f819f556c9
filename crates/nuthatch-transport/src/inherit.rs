//! Sockets that were open before this program started: systemd's socket activation.
//!
//! A service manager that listens in a program's stead starts it when the first client comes, keeps
//! the queue of clients over a restart, and gives it ports that the program itself may not open.
//! It passes the sockets as descriptors from 3 on, and says so in the environment:
//!
//! ```text
//!   LISTEN_PID=4711               for whom they are meant
//!   LISTEN_FDS=2                  how many there are
//!   LISTEN_FDNAMES=nuthatchd:udp  what the administrator calls them
//! ```

use std::{
    env, io,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use socket2::{Domain, Socket, Type};

use crate::{Bound, BoundUdp, Local, bind::ListeningSocket};

/// Sockets that a service manager has opened.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inherited {
    /// Those that listen: TCP and Unix stream sockets.
    pub streams: Vec<Bound>,
    /// Those for datagrams: UDP sockets.
    pub datagrams: Vec<BoundUdp>,
}

/// Whether a service manager has opened sockets for this very process.
pub fn has_inherited() -> bool {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    number("LISTEN_PID") == Some(std::process::id())
        && number("LISTEN_FDS").is_some_and(|n_sockets| n_sockets > 0)
}

/// Takes the sockets that a service manager has opened for this process, `None` where it has opened
/// none. They take the place of those that a program would open itself.
///
/// Each must be a listening TCP or Unix stream socket, or a UDP socket; TCP sockets get
/// `TCP_NODELAY` and `SO_KEEPALIVE` as if they had been bound here. What there is of UDP sockets is
/// served by one worker each: the manager did not open one for every worker.
///
/// They are taken once; asked again, there are none. Call this before the program opens anything.
///
/// # Errors
///
/// [`InheritError`] for a descriptor that is nothing of the kind, or for variables that cannot be
/// made out.
pub fn inherited() -> Result<Option<Inherited>, InheritError> {
    static ARE_TAKEN: AtomicBool = AtomicBool::new(false);
    if !has_inherited() || ARE_TAKEN.swap(true, Relaxed) {
        return Ok(None);
    }
    let sockets = sd_listen_fds::get().map_err(|error| InheritError {
        number: 0,
        name: String::new(),
        source: io::Error::other(error),
    })?;
    let mut all = Inherited { streams: Vec::new(), datagrams: Vec::new() };
    for (idx, (name, socket)) in sockets.into_iter().enumerate() {
        let name = name.unwrap_or_default();
        all.take(socket.into_std()).map_err(|source| InheritError {
            number: idx + 1,
            name,
            source,
        })?;
    }
    Ok(Some(all))
}

/// Why an inherited descriptor is of no use.
#[derive(Debug, thiserror::Error)]
#[error("inherited socket {number} ({name}): {source}")]
pub struct InheritError {
    number: usize,
    name: String,
    source: io::Error,
}

impl Inherited {
    /// Takes a descriptor for what it is.
    fn take(&mut self, socket: OwnedFd) -> io::Result<()> {
        let socket = Socket::from(socket);
        let (domain, kind) = (socket.domain()?, socket.r#type()?);
        // Programs that this one starts must not have it.
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let is_ip = domain == Domain::IPV4 || domain == Domain::IPV6;
        if kind == Type::DGRAM && is_ip {
            self.datagrams.push(BoundUdp::inherited(socket.into())?);
        } else if kind == Type::STREAM && is_ip {
            must_listen(&socket)?;
            socket.set_keepalive(true)?;
            socket.set_tcp_nodelay(true)?;
            let Some(address) = socket.local_addr()?.as_socket() else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            self.push(ListeningSocket::Tcp(socket.into()), Local::Tcp(address));
        } else if kind == Type::STREAM && domain == Domain::UNIX {
            must_listen(&socket)?;
            let address = socket.local_addr()?;
            let path = address.as_pathname().unwrap_or_else(|| "".as_ref()).to_owned();
            self.push(ListeningSocket::Unix(socket.into()), Local::Unix(path));
        } else {
            return Err(io::Error::other("neither TCP, nor UDP, nor a Unix stream socket"));
        }
        Ok(())
    }

    fn push(&mut self, socket: ListeningSocket, local: Local) {
        self.streams.push(Bound { socket, local, protocol: None, tag: None, tls: None });
    }
}

/// A socket unit with `Accept=yes` passes a connection.
fn must_listen(socket: &Socket) -> io::Result<()> {
    if socket.is_listener()? {
        return Ok(());
    }
    Err(io::Error::other("a connection, not a listener (Accept=no is needed)"))
}
