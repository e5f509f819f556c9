//! A cluster for this program alone: an etcd and the nodes that keep their list there, on ports
//! that are free.

use std::env::consts::EXE_SUFFIX;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::watch::Watch;

/// The services. Dropped, they end.
pub(crate) struct Own {
    folder: TempDir,
    nuthatchd: PathBuf,
    etcd: Service,
    nodes: Vec<Service>,
}

/// A program that serves on a port of 127.0.0.1, killed when dropped.
struct Service {
    child: Child,
    port: u16,
}

impl Own {
    /// Starts etcd and three nodes, and waits until they serve.
    pub(crate) async fn start() -> Result<Self> {
        let (nuthatchd, folder) = (nuthatchd()?, tempfile::tempdir()?);
        let etcd = etcd(folder.path())?;
        let mut own = Self { folder, nuthatchd, etcd, nodes: Vec::new() };
        own.etcd.serves().await?;
        for _ in 0..3 {
            own.add_node()?;
        }
        for node in &mut own.nodes {
            node.serves().await?;
        }
        Ok(own)
    }

    /// By which clients find the nodes when they ask these themselves.
    pub(crate) fn nodes_url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(Service::address).collect();
        format!("memcached+discover://{}/?poll=1s", nodes.join(","))
    }

    /// By which they find them in etcd.
    pub(crate) fn etcd_url(&self) -> String {
        format!("memcached+etcd://{}/cache", self.etcd.address())
    }

    /// Lets happen to the nodes what may happen to nodes, one after the other: the next when the
    /// client knows of the last, and some seconds have been shown of what that means.
    pub(crate) async fn play(&mut self, watch: &Watch) -> Result<()> {
        listed(watch, 3).await?;

        let killed = self.nodes.remove(1);
        watch.say(format_args!("-- kill -9 {}", killed.address()));
        drop(killed);
        listed(watch, 2).await?;

        let address = self.add_node()?;
        watch.say(format_args!("-- nuthatchd on {address}"));
        listed(watch, 3).await?;

        let ended = self.nodes.remove(0);
        watch.say(format_args!("-- kill {}", ended.address()));
        ended.terminate()?;
        listed(watch, 2).await?;
        watch.say("-- that is all");
        Ok(())
    }

    fn add_node(&mut self) -> Result<String> {
        let port = free_port()?;
        let source = format!("discovery_source=etcd://{}/cache", self.etcd.address());
        let child = Command::new(&self.nuthatchd)
            .args(["-l", "127.0.0.1", "-p", &port.to_string()])
            // Who dies leaves the list after so many seconds; without this it is ten.
            .args(["-o", &source, "-o", "discovery_ttl=3"])
            .stdin(Stdio::null())
            .stderr(log(self.folder.path(), &format!("nuthatchd.{port}"))?)
            .spawn()?;
        self.nodes.push(Service { child, port });
        Ok(format!("127.0.0.1:{port}"))
    }
}

/// Waits until the client knows so many nodes, and then lets it show them.
async fn listed(watch: &Watch, n_nodes: usize) -> Result<()> {
    let is_so = async {
        while watch.n_nodes() != n_nodes {
            sleep(POLL).await;
        }
    };
    let known = timeout(PATIENCE, is_so).await;
    known.map_err(|_| format!("the client does not hear that there are {n_nodes} nodes"))?;
    sleep(Duration::from_secs(3)).await;
    Ok(())
}

fn etcd(folder: &Path) -> Result<Service> {
    let port = free_port()?;
    let client = format!("http://127.0.0.1:{port}");
    // For other servers of etcd, of which there are none.
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let started = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log(folder, "etcd")?)
        .spawn();
    match started {
        Ok(child) => Ok(Service { child, port }),
        Err(error) => Err(format!("etcd (Debian: etcd-server): {error}").into()),
    }
}

/// The program that was built beside this one; it is built now if it was not.
fn nuthatchd() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name(format!("nuthatchd{EXE_SUFFIX}"));
    if !program.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let is_release = own.parent().is_some_and(|folder| folder.ends_with("release"));
        let profile = if is_release { "release" } else { "dev" };
        let built = Command::new(cargo)
            .args(["build", "-p", "nuthatch-server", "--bin", "nuthatchd", "--profile", profile])
            .status()?;
        if !built.success() || !program.exists() {
            return Err(
                "there is no nuthatchd beside this program: cargo build --bin nuthatchd".into()
            );
        }
    }
    Ok(program)
}

impl Service {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until somebody can connect.
    async fn serves(&mut self) -> Result<()> {
        let address = self.address();
        let is_there = async {
            while TcpStream::connect(&address).await.is_err() {
                if let Some(status) = self.child.try_wait()? {
                    return Err(format!("who was to serve at {address} has ended: {status}").into());
                }
                sleep(POLL).await;
            }
            Ok(())
        };
        timeout(PATIENCE, is_there).await.map_err(|_| format!("nobody serves at {address}"))?
    }

    /// Asks it to end in order: a node says that it leaves.
    fn terminate(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(folder: &Path, name: &str) -> Result<File> {
    Ok(File::create(folder.join(name))?)
}

/// A port that nobody had a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How often it is looked again.
const POLL: Duration = Duration::from_millis(50);

/// How long anything may take; on a machine that has much to do etcd needs some seconds to begin.
const PATIENCE: Duration = Duration::from_secs(60);
