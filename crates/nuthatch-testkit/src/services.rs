//! Other people's services that tests need: etcd, and a DNS server.

use std::{
    fmt, fs, io,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::find_program;

/// An etcd of one server, killed when dropped; its data are in a folder of its own and outlive
/// [`stop`](Self::stop).
#[derive(Debug)]
pub struct Etcd {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    peer_port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Etcd {
    /// Starts one where it is installed.
    ///
    /// # Errors
    ///
    /// What the system said, or that it does not serve within twenty seconds.
    pub fn start() -> io::Result<Option<Self>> {
        Self::start_with(&[])
    }

    /// Starts one with more arguments.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with(args: &[&str]) -> io::Result<Option<Self>> {
        let Some(program) = find_program("etcd") else { return Ok(None) };
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (port, peer_port) = (free_port()?, free_port()?);
        let mut etcd =
            Self { program, folder: TempDir::new()?, port, peer_port, args, child: None };
        etcd.start_again()?;
        Ok(Some(etcd))
    }

    /// The port for clients, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts it again on the same port with the same data.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_again(&mut self) -> io::Result<()> {
        self.stop();
        let is_tls = self.args.iter().any(|arg| arg.contains("--cert-file"));
        let scheme = if is_tls { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", self.port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = fs::File::create(self.folder.path().join("log"))?;
        let child = Command::new(&self.program)
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.serves()
    }

    /// Kills it; nothing is lost that it has acknowledged.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Kills it and loses its data.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn lose_data(&mut self) -> io::Result<()> {
        self.stop();
        fs::remove_dir_all(self.folder.path().join("data"))
    }

    /// A folder of its own.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn serves(&self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            // Its port is open some time before it has a leader.
            let is_ready = log.contains("ready to serve client requests");
            if is_ready && TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Err(io::Error::other(format!("etcd does not serve: {log}")))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A DNS server (dnsmasq) that knows what it is told and asks nobody, killed when dropped.
pub struct Dns {
    program: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Dns {
    /// Starts one where it is installed. `records` are its options: `--host-record=a.test,10.0.0.1`,
    /// `--srv-host=_memcached._tcp.test,a.test,11211,0,10`.
    ///
    /// # Errors
    ///
    /// What the system said, or that it does not serve within twenty seconds.
    pub fn start(records: &[&str]) -> io::Result<Option<Self>> {
        let Some(program) = find_program("dnsmasq") else { return Ok(None) };
        let mut dns = Self { program, port: free_port()?, child: None };
        dns.tell(records)?;
        Ok(Some(dns))
    }

    /// The port, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts it again with other records.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn tell(&mut self, records: &[&str]) -> io::Result<()> {
        self.stop();
        let child = Command::new(&self.program)
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"])
            .args(["--listen-address=127.0.0.1", "--bind-interfaces", "--local-ttl=1"])
            .args(["--pid-file=", "--user=root"])
            .arg(format!("--port={}", self.port))
            .args(records)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        for _ in 0..ATTEMPTS {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(io::Error::other("dnsmasq does not serve"))
    }

    /// Kills it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").field("port", &self.port).finish_non_exhaustive()
    }
}

/// A port that nobody had a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How often to look again, and how long to wait in between: twenty seconds in all.
const ATTEMPTS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(20);
