//! Other clients, at work on the same servers: every key lies where our ring says, and each reads what
//! the other has stored.
//!
//! The servers are Debian's memcached, or the `nuthatchd` that the variable `NUTHATCHD` names; those
//! tell our client who the others are. Clients that are not installed are skipped, aloud; the variable
//! `NUTHATCH_JARS` may name those of Java. How the clients of long ago and of other systems route is
//! in [`vectors`](crate::vectors). A proxy (twemproxy) is a neighbour as well, and is talked through.

use std::env;
use std::fmt::Write;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nuthatch_client::Client;
use nuthatch_client::route::{HashKind, Node, Router};
use nuthatch_client::types::{Deleted, Stored, Ttl};
use nuthatch_testkit::{Daemon, find_program};
use tempfile::TempDir;

use crate::LONG;

/// A client by its interpreter and script, and how it is to route.
struct Neighbour<'a> {
    interpreter: &'a str,
    /// What the interpreter is given before the script.
    options: &'a [String],
    script: &'a str,
    rule: &'a [&'a str],
}

impl Neighbour<'_> {
    /// Lets it store `key:0` to `key:499`, or read `ours:0` to `ours:499`; whether it is installed.
    #[track_caller]
    fn run(&self, what: &str, servers: &[String]) -> bool {
        let Some(interpreter) = find_program(self.interpreter) else {
            eprintln!("skipped: no {} is installed", self.interpreter);
            return false;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routes").join(self.script);
        let mut command = Command::new(interpreter);
        command.args(self.options).arg(&script).arg(what).args(self.rule).args(servers);
        let run = command.output().unwrap();
        if run.status.code() == Some(77) {
            eprintln!("skipped: the client of {} is not installed", script.display());
            return false;
        }
        assert!(run.status.success(), "{} {what} {:?}: {run:?}", script.display(), self.rule);
        true
    }
}

/// Compares where a client's keys are with where ours would be, and reads and writes beside it.
#[track_caller]
fn check_with(neighbour: &Neighbour<'_>, weights: [u16; 3], router: &Router) {
    let ours = env::var_os("NUTHATCHD").map(PathBuf::from);
    let tells = ours.is_some() && weights == EVEN;
    let Some(server) = ours.or_else(|| find_program("memcached")) else {
        return eprintln!("skipped: no memcached is installed");
    };
    let args: &[&str] = if tells { &["-o", "discovery"] } else { &[] };
    let mut daemons = [(); 3].map(|()| Daemon::builder(&server).args(args).start().unwrap());
    // The order in which our client has nodes of which it was told; some rules count them.
    daemons.sort_by_key(Daemon::port);
    let (nodes, servers) = with_weights(&daemons, weights);
    if !neighbour.run("store", &servers) {
        return;
    }
    let script = neighbour.script;
    keys_are_in_their_places(router, &nodes, &daemons);
    let address = if tells { tell(&daemons) } else { servers.join(",").replace('*', ":") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = Client::builder().timeout(LONG).router(router.clone());
        let client = builder.connect(&address).await.unwrap();
        let found = client.get_many((0..N_KEYS).map(|i| format!("key:{i}"))).await.unwrap();
        assert!(found.iter().all(Option::is_some), "all of {script} by {router} at {address}");
        let items = (0..N_KEYS).map(|i| (format!("ours:{i}"), "y"));
        for outcome in client.set_many(items, Ttl::secs(600)).await {
            outcome.unwrap();
        }
    });
    neighbour.run("read", &servers);
}

/// Stores the list of nodes at the first of them; where a client is to look for it.
fn tell(daemons: &[Daemon; 3]) -> String {
    let nodes =
        daemons.each_ref().map(|daemon| format!("127.0.0.1|127.0.0.1|{}", daemon.port().unwrap()));
    let list = format!("1\n{}\n", nodes.join(" "));
    let mut connection = BufReader::new(daemons[0].connect().unwrap());
    write!(connection.get_mut(), "config set cluster 0 {}\r\n{list}\r\n", list.len()).unwrap();
    let mut answer = String::new();
    connection.read_line(&mut answer).unwrap();
    assert_eq!(answer, "STORED\r\n");
    format!("memcached+discover://127.0.0.1:{}/", daemons[0].port().unwrap())
}

#[track_caller]
fn check(interpreter: &str, script: &str, rule: &[&str], weights: [u16; 3], router: &Router) {
    check_with(&Neighbour { interpreter, options: &[], script, rule }, weights, router);
}

/// Servers as nodes of our ring, and as others are told of them.
fn with_weights(daemons: &[Daemon], weights: [u16; 3]) -> (Vec<Node>, Vec<String>) {
    let node = |(daemon, weight): (&Daemon, u16)| {
        Node::new("127.0.0.1", daemon.port().unwrap()).with_weight(weight)
    };
    let nodes: Vec<_> = daemons.iter().zip(weights).map(node).collect();
    let servers = nodes.iter().map(|node| format!("{node}*{}", node.weight())).collect();
    (nodes, servers)
}

/// Each node has the keys that the rule gives it, and all have all.
fn keys_are_in_their_places(router: &Router, nodes: &[Node], daemons: &[Daemon]) {
    let ring = router.ring(nodes);
    let mut n_keys = 0;
    for (position, daemon) in daemons.iter().enumerate() {
        for key in keys_of(daemon) {
            assert_eq!(ring.pick(key.as_bytes()), Some(position), "{key} by {router}");
            n_keys += 1;
        }
    }
    assert_eq!(n_keys, N_KEYS);
}

/// Which of the keys a server has.
fn keys_of(daemon: &Daemon) -> Vec<String> {
    let keys: Vec<_> = (0..N_KEYS).map(|i| format!("key:{i}")).collect();
    let mut connection = BufReader::new(daemon.connect().unwrap());
    // Without values, a key a line, hits only; then the end.
    let commands: String = keys.iter().map(|key| format!("mg {key} k q\r\n")).collect();
    write!(connection.get_mut(), "{commands}mn\r\n").unwrap();
    let lines = connection.lines().map(|line| line.unwrap());
    lines
        .take_while(|line| line != "MN")
        .map(|line| line.strip_prefix("HD k").unwrap().to_owned())
        .collect()
}

const N_KEYS: usize = 500;

const EVEN: [u16; 3] = [1; 3];

#[test]
fn pylibmc() {
    let check =
        |rule, weights, router| check("python3", "with_pylibmc.py", &[rule], weights, &router);
    check("modula", EVEN, Router::modula_libmemcached(HashKind::OneAtATime));
    check("modula_md5", EVEN, Router::modula_libmemcached(HashKind::Md5));
    check("ketama", EVEN, Router::ketama_libmemcached());
    check("ketama", [1, 2, 3], Router::ketama_libmemcached());
    check("ketama_weighted", EVEN, Router::ketama_libmemcached_weighted());
    check("ketama_weighted", [5, 1, 7], Router::ketama_libmemcached_weighted());
}

#[test]
fn php_memcached() {
    let check = |rule, weights, router| check("php", "memcached.php", &[rule], weights, &router);
    check("modula", EVEN, Router::modula_libmemcached(HashKind::OneAtATime));
    check("consistent", EVEN, Router::ketama_libmemcached());
    check("libketama", EVEN, Router::ketama_libmemcached_weighted());
    check("libketama", [5, 1, 7], Router::ketama_libmemcached_weighted());
}

#[test]
fn clients_for_python() {
    let check = |client, router| check("python3", "with_python.py", &[client], EVEN, &router);
    check("pymemcache", Router::pymemcache());
    check("bmemcached", Router::bmemcached());
    check("emcache", Router::emcache());
}

#[test]
fn dalli() {
    check("ruby", "dalli.rb", &[], EVEN, &Router::dalli());
    check("ruby", "dalli.rb", &[], [1, 2, 3], &Router::dalli());
}

/// The cluster client where the variable names it, and what Debian has.
#[test]
fn spymemcached() {
    const OF_DEBIAN: &str = "/usr/share/java/spymemcached.jar";
    let check = |jars: &str, rule, router| {
        let options = ["-cp".to_owned(), jars.to_owned()];
        let script = "WithSpymemcached.java";
        let spy = Neighbour { interpreter: "java", options: &options, script, rule: &[rule] };
        check_with(&spy, EVEN, &router);
    };
    if Path::new(OF_DEBIAN).exists() {
        check(OF_DEBIAN, "modula", Router::modula_spymemcached());
        check(OF_DEBIAN, "ketama", Router::ketama_spymemcached());
    } else {
        eprintln!("skipped: no spymemcached is installed");
    }
    let Ok(jars) = env::var("NUTHATCH_JARS") else {
        return eprintln!("skipped: NUTHATCH_JARS names no cluster client for Java");
    };
    check(&jars, "modula", Router::modula_spymemcached());
    check(&jars, "ketama", Router::ketama_aws());
}

/// A twemproxy before three servers, ended when dropped.
struct Twemproxy {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Twemproxy {
    /// Starts Debian's, if it is installed, with these words for `hash` and `distribution`.
    fn start(hash: &str, distribution: &str, servers: &[String]) -> Option<Self> {
        let Some(program) = find_program("nutcracker") else {
            eprintln!("skipped: no nutcracker is installed");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let free_port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, of_stats) = (free_port(), free_port());
        let mut pool = format!(
            "pool:\n  listen: 127.0.0.1:{port}\n  hash: {hash}\n  distribution: {distribution}\n  \
             timeout: 20000\n  servers:\n"
        );
        for server in servers.iter().rev() {
            // As the routes have them, but for the weight's sign.
            writeln!(pool, "   - {}", server.replace('*', ":")).unwrap();
        }
        let (of_pool, log) = (folder.path().join("pool.yml"), folder.path().join("log"));
        fs::write(&of_pool, pool).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(of_pool)
            .args(["-s", &of_stats.to_string(), "-o"])
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let proxy = Self { child, port, _folder: folder };
        for _ in 0..1000 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(proxy);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nutcracker does not serve: {}", fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Twemproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What goes in at the proxy is found beside it where our ring says, and the other way round. Our
/// client takes the proxy for a server, and finds out by itself that it knows classic text alone.
#[track_caller]
fn check_twemproxy(hash: &str, distribution: &str, weights: [u16; 3], router: &Router) {
    let ours = env::var_os("NUTHATCHD").map(PathBuf::from);
    let Some(server) = ours.or_else(|| find_program("memcached")) else {
        return eprintln!("skipped: no memcached is installed");
    };
    let mut daemons = [(); 3].map(|()| Daemon::builder(&server).start().unwrap());
    // It counts its servers in the order of their names, wherever they stand in its file: there the
    // last one is the first.
    daemons.sort_by_key(Daemon::port);
    let (nodes, servers) = with_weights(&daemons, weights);
    let Some(proxy) = Twemproxy::start(hash, distribution, &servers) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let through = Client::builder().timeout(LONG);
        let through = through.connect(&format!("127.0.0.1:{}", proxy.port)).await.unwrap();
        let beside = Client::builder().timeout(LONG).router(router.clone());
        let beside = beside.connect(&servers.join(",").replace('*', ":")).await.unwrap();
        for (writer, reader, prefix) in [(&through, &beside, "key"), (&beside, &through, "ours")] {
            let keys = || (0..N_KEYS).map(|i| format!("{prefix}:{i}"));
            for outcome in writer.set_many(keys().map(|key| (key, "x")), Ttl::secs(600)).await {
                assert_eq!(outcome.unwrap(), Stored::Stored);
            }
            let found = reader.get_many(keys()).await.unwrap();
            let n_found = found.iter().flatten().count();
            assert_eq!(n_found, N_KEYS, "{prefix} by {router}");
        }
        uses_classic_text(&through).await;
    });
    keys_are_in_their_places(router, &nodes, &daemons);
}

/// What twemproxy lets through of the commands.
async fn uses_classic_text(client: &Client) {
    assert_eq!(client.add("n", "41", Ttl::NEVER).await.unwrap(), Stored::Stored);
    assert_eq!(client.incr("n", 1).await.unwrap(), Some(42));
    assert_eq!(client.decr("n", 2).await.unwrap(), Some(40));
    let cas = client.get("n").await.unwrap().unwrap().cas;
    assert_eq!(client.cas("n", cas, "1", Ttl::NEVER).await.unwrap(), Stored::Stored);
    assert_eq!(client.cas("n", cas, "2", Ttl::NEVER).await.unwrap(), Stored::Exists);
    assert_eq!(client.append("n", "2").await.unwrap(), Stored::Stored);
    assert_eq!(client.prepend("n", "0").await.unwrap(), Stored::Stored);
    assert_eq!(client.get("n").await.unwrap().unwrap().value, "012");
    assert!(client.touch("n", Ttl::secs(60)).await.unwrap());
    assert_eq!(client.delete("n").await.unwrap(), Deleted::Deleted);
    assert!(client.get("n").await.unwrap().is_none());
}

#[test]
fn twemproxy() {
    for hash in ["fnv1a_64", "md5", "one_at_a_time", "murmur"] {
        let kind = hash.parse().unwrap();
        check_twemproxy(hash, "ketama", EVEN, &Router::ketama_twemproxy(kind));
    }
    // That of the URL `router=ketama-libmemcached-weighted`: with MD5 and without weights they agree.
    check_twemproxy("md5", "ketama", EVEN, &Router::ketama_libmemcached_weighted());
    check_twemproxy("fnv1a_64", "ketama", [5, 1, 7], &Router::ketama_twemproxy(HashKind::Fnv1a64));
    check_twemproxy("fnv1a_64", "modula", EVEN, &Router::modula_twemproxy(HashKind::Fnv1a64));
}
