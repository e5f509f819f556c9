//! The port file: where tests and supervisors read which ports were bound.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use nuthatch_transport::Local;

/// The environment variable that names the port file; memcached's own, so that what starts a
/// memcached on a free port and reads here which one it was can start this server too.
pub const FILE_VARIABLE: &str = "MEMCACHED_PORT_FILENAME";

/// Writes a line such as `TCP INET: 11211` or `UDP INET6: 11211` for each bound address, in their
/// order; Unix sockets have none.
///
/// As in memcached the lines are appended to the file with `.lck` after its name, which is then
/// renamed: the file itself appears only when all sockets are open.
///
/// # Errors
///
/// What the system said.
pub fn write<'a>(path: &Path, bound: impl IntoIterator<Item = &'a Local>) -> io::Result<()> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lck");
    let mut text = String::new();
    for local in bound {
        let (transport, address) = match local {
            Local::Tcp(address) => ("TCP", address),
            Local::Udp(address) => ("UDP", address),
            Local::Unix(_) => continue,
        };
        let family = if address.is_ipv4() { "INET" } else { "INET6" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{transport} {family}: {}", address.port());
    }
    OpenOptions::new().create(true).append(true).open(&lock)?.write_all(text.as_bytes())?;
    fs::rename(&lock, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports");
        let bound = [
            Local::Tcp("127.0.0.1:11211".parse().unwrap()),
            Local::Unix("/run/memcached".into()),
            Local::Tcp("[::1]:11212".parse().unwrap()),
            Local::Udp("127.0.0.1:11213".parse().unwrap()),
        ];
        write(&path, &bound).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "TCP INET: 11211\nTCP INET6: 11212\nUDP INET: 11213\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the .lck file is gone");
    }
}
