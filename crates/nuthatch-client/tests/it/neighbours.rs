//! Other clients, at work on the same servers: every key lies where our ring says.
//!
//! The servers are Debian's memcached, or what the variable `NUTHATCHD` names. Clients that are not
//! installed are skipped, aloud. How the clients of long ago and of other systems route is in
//! [`vectors`](crate::vectors).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nuthatch_client::route::{HashKind, Node, Router};
use nuthatch_testkit::{Daemon, find_program};

/// Stores `key:0` to `key:499` with a client's script and compares where they are.
#[track_caller]
fn check(interpreter: &str, script: &str, rule: &[&str], weights: [u16; 3], router: &Router) {
    let server = std::env::var_os("NUTHATCHD").map(PathBuf::from);
    let Some(server) = server.or_else(|| find_program("memcached")) else {
        return eprintln!("skipped: no memcached is installed");
    };
    let Some(interpreter) = find_program(interpreter) else {
        return eprintln!("skipped: no {interpreter} is installed");
    };
    let daemons = [(); 3].map(|()| Daemon::builder(&server).start().unwrap());
    let nodes: Vec<_> = daemons
        .iter()
        .zip(weights)
        .map(|(daemon, weight)| Node::new("127.0.0.1", daemon.port().unwrap()).with_weight(weight))
        .collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routes").join(script);
    let servers = nodes.iter().map(|node| format!("{node}*{}", node.weight()));
    let run = Command::new(interpreter).arg(&script).args(rule).args(servers).output().unwrap();
    if run.status.code() == Some(77) {
        return eprintln!("skipped: the client of {} is not installed", script.display());
    }
    assert!(run.status.success(), "{} {rule:?}: {run:?}", script.display());
    let ring = router.ring(&nodes);
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
