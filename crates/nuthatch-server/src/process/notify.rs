//! Telling the service manager how things stand: systemd's readiness protocol.
//!
//! ```text
//!   started ── READY=1 ──► serving ── STOPPING=1 ──► ended
//!                          │   ▲
//!                 RELOADING=1  READY=1      (SIGHUP)
//! ```
//!
//! Where the environment variable `NOTIFY_SOCKET` names a socket, each word is a datagram sent
//! there; where it does not, nothing happens. The socket is opened once, before the process gives
//! up the system calls for that (`-o drop_privileges`).

use std::{
    env,
    ffi::OsStr,
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
};

use nix::time::{ClockId, clock_gettime};

/// The environment variable that says where to tell.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Who is told, if anybody.
#[derive(Debug)]
pub struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Connects to the socket that the environment names.
    ///
    /// # Errors
    ///
    /// What the system said, or that the name is none; the manager would wait in vain.
    pub fn from_env() -> io::Result<Self> {
        match env::var_os(SOCKET_VARIABLE) {
            Some(name) if !name.is_empty() => Self::to(&name),
            _ => Ok(Self(None)),
        }
    }

    fn to(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', rest @ ..] => abstract_address(rest)?,
            _ => return Err(io::Error::other("neither a path nor an abstract socket")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Self(Some(socket)))
    }

    /// Whoever connects from now on is served, by this process (which is not the one that was
    /// started, with `-d`).
    pub fn ready(&self) {
        self.tell(&format!("READY=1\nMAINPID={}", std::process::id()));
    }

    /// Files are being read again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        // The manager compares the time with that of its own request.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
            i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000
        });
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// The server is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, words: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(words.as_bytes()) {
            tracing::warn!("the service manager was not told {words:?}: {error}");
        }
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;

    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn the_words_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str()).unwrap();
        notifier.ready();
        assert_eq!(receive(&manager), format!("READY=1\nMAINPID={}", std::process::id()));
        notifier.reloading();
        let words = receive(&manager);
        let time = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("as systemd has it");
        assert!(time.parse::<u64>().unwrap() > 0);
        notifier.stopping();
        assert_eq!(receive(&manager), "STOPPING=1");
        drop(manager);
        // Nobody there any more.
        notifier.stopping();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn abstract_names_begin_with_an_at_sign() {
        let name = format!("nuthatch-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&abstract_address(name.as_bytes()).unwrap()).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}"))).unwrap().stopping();
        assert_eq!(receive(&manager), "STOPPING=1");
    }

    #[test]
    fn a_name_that_leads_nowhere_is_an_error() {
        for name in ["relative", "/no/such/socket"] {
            assert!(Notifier::to(OsStr::new(name)).is_err(), "{name}");
        }
        Notifier(None).ready();
    }
}
