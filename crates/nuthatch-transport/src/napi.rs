//! Which queue of the network card a connection came by.

use std::{io, os::fd::AsFd};

/// The number of the receive queue (its NAPI id) by which the last packet of a socket came; 0 where
/// it came by none, as over loopback.
#[cfg(target_os = "linux")]
pub(crate) fn incoming(socket: &impl AsFd) -> io::Result<u32> {
    nix::sys::socket::getsockopt(socket, linux::IncomingNapiId).map_err(io::Error::from)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn incoming(_: &impl AsFd) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
mod linux {
    use nix::libc;

    /// `SO_INCOMING_NAPI_ID`, an `unsigned int` to the kernel; `nix` has the call and no name for
    /// this option.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct IncomingNapiId;

    nix::getsockopt_impl!(
        IncomingNapiId,
        libc::SOL_SOCKET,
        libc::SO_INCOMING_NAPI_ID,
        u32,
        nix::sys::socket::sockopt::GetStruct<u32>
    );
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn loopback_has_no_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for queue in [incoming(&listener), incoming(&client), incoming(&accepted)] {
            assert_eq!(queue.unwrap(), 0);
        }
    }
}
