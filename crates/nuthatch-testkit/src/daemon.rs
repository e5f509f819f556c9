//! Starting servers: ours, or a real memcached to compare with.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::Version;

/// A running server, killed when dropped.
///
/// It listens on a port of 127.0.0.1 that the kernel picks, and tells which through memcached's
/// port file, so tests can run side by side; or on a Unix socket in a folder of its own.
///
/// ```no_run
/// use nuthatch_testkit::{Daemon, find_program};
///
/// if let Some(memcached) = find_program("memcached") {
///     let daemon = Daemon::builder(memcached).args(["-m", "128"]).start()?;
///     let connection = daemon.connect()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    place: Place,
    folder: TempDir,
}

#[derive(Clone, Debug)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What to start.
#[derive(Debug)]
pub struct DaemonBuilder {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unix: bool,
}

impl Daemon {
    /// A server to be started; for `nuthatchd` the program is `env!("CARGO_BIN_EXE_nuthatchd")`.
    pub fn builder(program: impl Into<PathBuf>) -> DaemonBuilder {
        DaemonBuilder { program: program.into(), args: Vec::new(), env: Vec::new(), unix: false }
    }

    /// A new connection, with a time limit of ten seconds on every read and write: an answer that
    /// does not come fails the test instead of stopping it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn connect(&self) -> io::Result<Connection> {
        Connection::open(&self.place)
    }

    /// The port it listens on, unless it has a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp(address) => Some(address.port()),
            Place::Unix(_) => None,
        }
    }

    /// The path of its Unix socket, if it has one.
    pub fn socket_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder of its own, gone when it is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        log(self.folder.path())
    }

    /// Waits up to ten seconds for its end; `None` if it is still there then.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut status = self.child.try_wait()?;
        for _ in 0..ATTEMPTS {
            if status.is_some() {
                break;
            }
            thread::sleep(PAUSE);
            status = self.child.try_wait()?;
        }
        Ok(status)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl DaemonBuilder {
    /// Adds arguments; where to listen and which user to be are given without asking.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Listens on a Unix socket instead of a port.
    #[must_use]
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// [`StartError`], with what the server wrote to standard error.
    pub fn start(self) -> Result<Daemon, StartError> {
        let folder = TempDir::new().map_err(StartError::System)?;
        let port_file = folder.path().join("ports");
        let socket = folder.path().join("socket");
        let mut command = Command::new(&self.program);
        if self.unix {
            command.arg("-s").arg(&socket);
        } else {
            command.args(["-l", "127.0.0.1", "-p", "-1", "-U", "0"]);
            command.env("MEMCACHED_PORT_FILENAME", &port_file);
        }
        if is_root(&folder).map_err(StartError::System)? {
            command.args(["-u", "root"]);
        }
        let stderr = fs::File::create(folder.path().join(LOG)).map_err(StartError::System)?;
        let mut child = command
            .args(&self.args)
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(StartError::System)?;
        for _ in 0..ATTEMPTS {
            let place =
                if self.unix { Some(Place::Unix(socket.clone())) } else { port(&port_file) };
            if let Some(place) = place
                && Connection::open(&place).is_ok()
            {
                return Ok(Daemon { child, place, folder });
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(StartError::Ended { status, stderr: log(folder.path()) });
            }
            thread::sleep(PAUSE);
        }
        // It neither serves nor ends; leave nothing behind.
        let _ = child.kill();
        let _ = child.wait();
        Err(StartError::Silent { stderr: log(folder.path()) })
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It ended by itself.
    #[error("the server ended with {status}: {stderr}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It did not accept a connection within ten seconds.
    #[error("the server does not accept connections: {stderr}")]
    Silent {
        /// What it wrote to standard error.
        stderr: String,
    },
    /// It could not be started.
    #[error("the server cannot be started: {0}")]
    System(io::Error),
}

/// A connection to a [`Daemon`].
#[derive(Debug)]
pub struct Connection(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn open(place: &Place) -> io::Result<Self> {
        let limit = Some(PAUSE * ATTEMPTS);
        match place {
            Place::Tcp(address) => {
                let socket = TcpStream::connect(address)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(limit)?;
                socket.set_write_timeout(limit)?;
                Ok(Self(Socket::Tcp(socket)))
            }
            Place::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(limit)?;
                socket.set_write_timeout(limit)?;
                Ok(Self(Socket::Unix(socket)))
            }
        }
    }

    /// Says that no more will be sent; answers can still be read.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn finish_writing(&self) -> io::Result<()> {
        match &self.0 {
            Socket::Tcp(socket) => socket.shutdown(std::net::Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(std::net::Shutdown::Write),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks a server program which memcached it is, with `-V`. One that was built outside a release
/// says `UNKNOWN` and counts as newer than all.
///
/// # Errors
///
/// What the system said, or that the answer is no version.
pub fn version_of(program: &Path) -> io::Result<Version> {
    let output = Command::new(program).arg("-V").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.strip_prefix("memcached ")
        .and_then(|text| match text.lines().next()? {
            "UNKNOWN" => Some(Version::NEWEST),
            version => Version::parse(version),
        })
        .ok_or_else(|| io::Error::other(format!("{} answers -V with {text:?}", program.display())))
}

/// Finds a program in the folders of `PATH`.
pub fn find_program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let name = Path::new(name.as_ref());
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The address in a port file, once it is there.
fn port(port_file: &Path) -> Option<Place> {
    let text = fs::read_to_string(port_file).ok()?;
    let port = text.lines().find_map(|line| line.strip_prefix("TCP INET: "))?.parse().ok()?;
    Some(Place::Tcp(SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Whether this process is root: then what it creates belongs to root.
fn is_root(folder: &TempDir) -> io::Result<bool> {
    Ok(fs::metadata(folder.path())?.uid() == 0)
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join(LOG)).unwrap_or_default()
}

/// Where standard error goes, in the server's folder.
const LOG: &str = "stderr";

/// How often to look again, and how long to wait in between: ten seconds in all.
const ATTEMPTS: u32 = 2000;
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Player, Split, Transcript};

    #[test]
    fn a_program_that_ends_is_not_a_server() {
        let program = find_program("false").expect("false is everywhere");
        let error = Daemon::builder(program).start().unwrap_err();
        assert!(matches!(error, StartError::Ended { status, .. } if status.code() == Some(1)));
        assert!(matches!(Daemon::builder("/no/such").start(), Err(StartError::System(_))));
    }

    #[test]
    fn programs_are_found_or_not() {
        assert!(find_program("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(find_program("no-such-program-here"), None);
    }

    /// Runs where memcached is installed, and shows that format, player and runner work together.
    #[test]
    fn a_real_memcached_answers_as_written_down() {
        let Some(memcached) = find_program("memcached") else { return };
        let text = "\
> set a 0 0 5
> hello
< STORED
> gets a
< VALUE a 0 5 \\<cas>
< hello
< END
> cas a 0 0 1 \\<cas>
> x
< STORED
> cas a 0 0 1 \\<cas>
> y
< EXISTS
> delete \\{251*k}
< CLIENT_ERROR \\*
";
        let transcript = Transcript::parse("session", text).unwrap();
        for unix in [false, true] {
            let mut builder = Daemon::builder(&memcached).args(["-t", "1"]);
            if unix {
                builder = builder.unix();
            }
            let daemon = builder.start().unwrap();
            for split in [Split::Whole, Split::EveryByte, Split::Random(3)] {
                let mut connection = daemon.connect().unwrap();
                Player::new(&transcript).split(split).play(&mut connection).unwrap();
            }
            assert_eq!(daemon.port().is_none(), unix);
        }
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let Some(memcached) = find_program("memcached") else { return };
        let daemon = Daemon::builder(memcached).start().unwrap();
        let place = daemon.place.clone();
        assert!(Connection::open(&place).is_ok());
        drop(daemon);
        assert!(Connection::open(&place).is_err());
    }
}
