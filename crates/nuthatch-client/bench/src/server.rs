//! A server to talk to.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use crate::Result;

/// A server with one thread, killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(program: &str) -> Result<Self> {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let port_text = port.to_string();
        let args = ["-u", "root", "-l", "127.0.0.1", "-t", "1", "-U", "0", "-p", &port_text];
        let child = Command::new(program).args(args).spawn();
        let server = Self { child: child.map_err(|error| format!("{program}: {error}"))?, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("{program} does not listen").into())
    }

    /// Stores what is asked for: [`N_KEYS`] values of [`VALUE_LEN`] bytes.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        for key in keys() {
            write!(stream, "set {key} 0 0 {VALUE_LEN} noreply\r\n{:1$}\r\n", "", VALUE_LEN)?;
        }
        stream.write_all(b"version\r\n")?;
        std::io::Read::read_exact(&mut stream, &mut [0; 8])?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The keys, all of one length.
pub(crate) fn keys() -> Vec<String> {
    (0..N_KEYS).map(|i| format!("user:{i:06}")).collect()
}

const N_KEYS: usize = 1000;
const VALUE_LEN: usize = 100;
