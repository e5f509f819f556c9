//! Who takes part: an etcd, nodes, and what stands between a node and its clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nuthatch_testkit::{Daemon, Etcd};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dialects::nuthatchd;

/// For how long a node stays in etcd that is not heard of: as short as `nuthatchd` allows.
pub(super) const TTL: Duration = Duration::from_secs(2);

/// A node: a `nuthatchd` that keeps itself in etcd.
pub(super) struct Node {
    /// As clients call it.
    pub(super) name: String,
    etcd_port: u16,
    words: Vec<String>,
    place: Place,
    server: Option<Daemon>,
    away: Option<Child>,
}

/// How clients reach it.
enum Place {
    /// As it is, on this port once there is one.
    Here(u16),
    /// Through a proxy, on the proxy's port.
    Behind(Proxy),
    /// In a network namespace of its own, over a cable. The proxy is for its way to etcd.
    Away(Machine, Proxy),
}

impl Node {
    pub(super) fn here(etcd: &Etcd, words: &[String]) -> Self {
        let mut node = Self::new(etcd, words, Place::Here(0));
        node.start();
        let port = node.server.as_ref().and_then(Daemon::port).unwrap();
        node.place = Place::Here(port);
        node.name = format!("127.0.0.1:{port}");
        node
    }

    pub(super) async fn behind_a_proxy(etcd: &Etcd, words: &[String]) -> Self {
        let proxy = Proxy::start("127.0.0.1").await;
        let name = format!("127.0.0.1:{}", proxy.port);
        let advertise = format!("discovery_advertise=127.0.0.1|127.0.0.1|{}", proxy.port);
        let mut words = words.to_vec();
        words.extend(["-o".to_owned(), advertise]);
        let mut node = Self::new(etcd, &words, Place::Behind(proxy));
        node.name = name;
        node.start();
        node
    }

    /// `None` where this process may make no networks.
    pub(super) async fn on_a_machine(etcd: &Etcd, words: &[String]) -> Option<Self> {
        let machine = Machine::start()?;
        let to_etcd = Proxy::start(Machine::HOST).await;
        to_etcd.target.send_replace(etcd.port());
        let mut node = Self::new(etcd, words, Place::Away(machine, to_etcd));
        node.name = format!("{}:{PORT_AWAY}", Machine::ADDRESS);
        let advertise = format!("discovery_advertise={0}|{0}|{PORT_AWAY}", Machine::ADDRESS);
        node.words.extend(["-o".to_owned(), advertise]);
        node.start();
        Some(node)
    }

    fn new(etcd: &Etcd, words: &[String], place: Place) -> Self {
        Self {
            name: String::new(),
            etcd_port: etcd.port(),
            words: words.to_vec(),
            place,
            server: None,
            away: None,
        }
    }

    /// Starts it, or starts it again as it was; without what it had in memory.
    pub(super) fn start(&mut self) {
        let (host, port) = match &self.place {
            Place::Away(_, to_etcd) => (Machine::HOST, to_etcd.port),
            _ => ("127.0.0.1", self.etcd_port),
        };
        let ttl = TTL.as_secs();
        let source = format!("discovery_source=etcd://{host}:{port}/faults,discovery_ttl={ttl}");
        let program = nuthatchd().expect("it was there before");
        if let Place::Away(machine, _) = &self.place {
            self.away = Some(machine.run(&program, &source, &self.words));
            return;
        }
        let mut builder = Daemon::builder(program).args(["-v", "-o", &source]).args(&self.words);
        if let Place::Here(port) = self.place
            && port > 0
        {
            builder = builder.args(["-p", &port.to_string()]);
        }
        let server = builder.start().expect("a node starts");
        if let Place::Behind(proxy) = &self.place {
            proxy.target.send_replace(server.port().unwrap());
        }
        self.server = Some(server);
    }

    pub(super) fn runs(&self) -> bool {
        self.server.is_some() || self.away.is_some()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.server = None;
        if let Some(mut away) = self.away.take() {
            let _ = away.kill();
            let _ = away.wait();
        }
    }

    /// SIGTERM, and waits for its end.
    pub(super) fn end(&mut self) {
        self.signal("-TERM");
        let mut server = self.server.take().expect("it runs");
        assert!(server.wait().unwrap().expect("it ends").success(), "{}", server.stderr());
    }

    pub(super) fn signal(&self, name: &str) {
        signal(name, self.server.as_ref().expect("it runs").pid());
    }

    pub(super) fn proxy(&self) -> &Proxy {
        let Place::Behind(proxy) = &self.place else { panic!("{} has no proxy", self.name) };
        proxy
    }

    pub(super) fn machine(&self) -> &Machine {
        let Place::Away(machine, _) = &self.place else { panic!("{} is here", self.name) };
        machine
    }

    /// What it has said, for who looks for a reason.
    pub(super) fn log(&self) -> String {
        self.server.as_ref().map(Daemon::stderr).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// What a proxy lets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lets {
    All,
    /// Nothing: connections are taken by the kernel and nobody says anything, as with a machine
    /// that has lost its network behind something that has not.
    Nothing,
    /// Nothing, and the port is closed to new connections.
    Closed,
    /// Requests, not answers: what is asked is done, and nobody hears of it.
    Requests,
}

/// Stands before a node. What it holds back arrives when it lets it through again, as with packets
/// that are sent again and again.
pub(super) struct Proxy {
    port: u16,
    target: watch::Sender<u16>,
    lets: watch::Sender<Lets>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn start(host: &str) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (target, targets) = watch::channel(0);
        let (lets, letting) = watch::channel(Lets::All);
        let task = tokio::spawn(accept(listener, targets, letting));
        Self { port, target, lets, task }
    }

    pub(super) fn set(&self, lets: Lets) {
        self.lets.send_replace(lets);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(first: TcpListener, targets: watch::Receiver<u16>, lets: watch::Receiver<Lets>) {
    let address = first.local_addr().unwrap();
    let mut listener = Some(first);
    let mut changes = lets.clone();
    loop {
        let now = *changes.borrow_and_update();
        match now {
            Lets::Closed => listener = None,
            Lets::All | Lets::Requests if listener.is_none() => {
                listener = Some(TcpListener::bind(address).await.unwrap());
            }
            _ => {}
        }
        let accepts = matches!(now, Lets::All | Lets::Requests);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            accepted = async { listener.as_ref().expect("it listens").accept().await }, if accepts => {
                let Ok((client, _)) = accepted else { continue };
                let (targets, lets) = (targets.clone(), lets.clone());
                tokio::spawn(async move {
                    let target = ("127.0.0.1", *targets.borrow());
                    let Ok(server) = tokio::net::TcpStream::connect(target).await else { return };
                    for socket in [&client, &server] {
                        socket.set_nodelay(true).unwrap();
                    }
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let goes = |lets: &Lets| matches!(lets, Lets::All | Lets::Requests);
                    let comes = |lets: &Lets| *lets == Lets::All;
                    tokio::join!(
                        pass(from_client, to_server, lets.clone(), goes),
                        pass(from_server, to_client, lets, comes),
                    );
                });
            }
        }
    }
}

/// Passes bytes on while they may pass.
async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut lets: watch::Receiver<Lets>,
    may: fn(&Lets) -> bool,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if lets.wait_for(may).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
    // An end is a packet too.
    let _ = lets.wait_for(may).await;
}

/// A network of its own, joined to this one by a cable that drops all packets when it is told to.
/// It is gone with the process that holds it.
pub(super) struct Machine {
    holder: Child,
}

impl Machine {
    const HOST: &str = "10.211.0.1";
    const ADDRESS: &str = "10.211.0.2";

    /// `None` where this process may not. `cargo xtask faults` runs where it may.
    fn start() -> Option<Self> {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "1000000"])
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let machine = Self { holder };
        // Until it has one.
        std::thread::sleep(Duration::from_millis(300));
        let pid = machine.holder.id();
        let here = format!(
            "ip link add nhf0 type veth peer name nhf1 && ip link set nhf1 netns {pid} && \
             ip addr add {}/24 dev nhf0 && ip link set nhf0 up",
            Self::HOST
        );
        let there = format!(
            "ip link set lo up && ip addr add {}/24 dev nhf1 && ip link set nhf1 up",
            Self::ADDRESS
        );
        (shell(&here) && machine.shell(&there)).then_some(machine)
    }

    fn shell(&self, script: &str) -> bool {
        shell(&format!("nsenter --target {} --net sh -c '{script}'", self.holder.id()))
    }

    fn run(&self, program: &Path, source: &str, words: &[String]) -> Child {
        let mut child = Command::new("nsenter")
            .args(["--target", &self.holder.id().to_string(), "--net"])
            .arg(program)
            .args(["-l", Self::ADDRESS, "-p", &PORT_AWAY.to_string(), "-u", "root"])
            .args(["-o", source])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a node starts");
        for _ in 0..1000 {
            if TcpStream::connect((Self::ADDRESS, PORT_AWAY)).is_ok() {
                return child;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("the node on a machine of its own does not listen");
    }

    /// Every packet is dropped, both ways, or none: queues that have no place.
    pub(super) fn cut(&self, is_cut: bool) {
        let script = |device: &str| {
            if is_cut {
                format!("tc qdisc replace dev {device} root pfifo limit 0")
            } else {
                format!("tc qdisc del dev {device} root")
            }
        };
        assert!(shell(&script("nhf0")) && self.shell(&script("nhf1")));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn shell(script: &str) -> bool {
    let status = Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A small file system, for an etcd that is to find its disk full.
pub(super) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// `None` where this process may not mount one. etcd takes 128 MiB for its log beforehand.
    pub(super) fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let path = folder.path().display();
        let is_there = shell(&format!("mount -t tmpfs -o size=140m nuthatch-faults {path}"));
        is_there.then_some(Self { folder })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn fill(&self) {
        let mut file = std::fs::File::create(self.folder.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    pub(super) fn clear(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = shell(&format!("umount {}", self.folder.path().display()));
    }
}

/// Asks etcd's JSON gateway; gives what it said, if it said anything.
pub(super) fn ask(etcd: &Etcd, path: &str, body: &str) -> Option<String> {
    let mut socket = TcpStream::connect(("127.0.0.1", etcd.port())).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let head = format!("POST {path} HTTP/1.0\r\nHost: e\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all((head + body).as_bytes()).ok()?;
    let mut said = String::new();
    socket.read_to_string(&mut said).ok()?;
    Some(said)
}

/// Puts so many bytes into etcd, under a name that is nobody's; whether it took them.
pub(super) fn put(etcd: &Etcd, name: usize, len: usize) -> bool {
    // Any four letters are three bytes.
    let body = format!(r#"{{"key":"{name:08}","value":"{}"}}"#, "AAAA".repeat(len / 3));
    ask(etcd, "/v3/kv/put", &body).is_some_and(|said| said.contains("200 OK"))
}

/// Removes them, and makes etcd see that there is room.
pub(super) fn make_room(etcd: &Etcd) {
    // All of these names begin with the byte 0xd3.
    let gone = ask(etcd, "/v3/kv/deleterange", r#"{"key":"0w==","range_end":"1A=="}"#).unwrap();
    let (_, revision) = gone.split_once(r#""revision":""#).expect("it says its revision");
    let revision = revision.split('"').next().unwrap();
    ask(etcd, "/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#));
    ask(etcd, "/v3/maintenance/defragment", "{}");
    let (_, member) = gone.split_once(r#""member_id":""#).expect("it says who it is");
    let member = member.split('"').next().unwrap();
    let alarm = r#""action":"DEACTIVATE","alarm":"NOSPACE""#;
    ask(etcd, "/v3/maintenance/alarm", &format!(r#"{{{alarm},"memberID":"{member}"}}"#));
}

/// The port of a node that has all of them for itself.
const PORT_AWAY: u16 = 11211;
