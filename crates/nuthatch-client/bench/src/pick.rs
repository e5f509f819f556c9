//! What it takes to find the node of a key: instructions, counted by callgrind, and nanoseconds.
//!
//! Two runs under callgrind, one with no picks, give the instructions of a pick by their difference.
//! callgrind's processor knows the instructions for SHA and AES that real ones have only in part, so
//! what is counted for `ketama-aws` is more than a real processor does.

use std::ffi::OsStr;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use nuthatch_client::route::{Node, Router};

use crate::Result;

pub(crate) fn run() -> Result<()> {
    println!("| router | nodes | instructions | ns |\n|---|--:|--:|--:|");
    for router in ROUTERS {
        for n_nodes in [10, 100] {
            let picks = |n: usize| -> Result<f64> {
                let own = std::env::current_exe()?.to_string_lossy().into_owned();
                let (n_nodes, n) = (n_nodes.to_string(), n.to_string());
                Ok(callgrind(&[&*own, "child", "pick", router, &n_nodes, &n])?.0)
            };
            let instructions = (picks(N_COUNTED)? - picks(0)?) / N_COUNTED as f64;
            println!("| {router} | {n_nodes} | {instructions:.0} | {:.0} |", ns(router, n_nodes)?);
        }
    }
    Ok(())
}

/// Runs a program; says how many instructions it took, and what it printed.
pub(crate) fn callgrind(program: &[impl AsRef<OsStr>]) -> Result<(f64, String)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(program)
        .output()
        .map_err(|error| format!("valgrind: {error} (Debian's package is valgrind)"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let collected = collected.ok_or_else(|| text.to_string())?.1.trim().parse()?;
    Ok((collected, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// In a child under callgrind: picks.
pub(crate) fn measure(router: &str, n_nodes: usize, n_picks: usize) -> Result<()> {
    let ring = router.parse::<Router>()?.ring(&nodes(n_nodes));
    let keys = keys();
    for i in 0..n_picks {
        black_box(ring.pick(black_box(&keys[i % keys.len()])));
    }
    Ok(())
}

/// The shortest of 20 runs of 10,000 picks.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn ns(router: &str, n_nodes: usize) -> Result<f64> {
    let ring = router.parse::<Router>()?.ring(&nodes(n_nodes));
    let keys = keys();
    let run = |_| {
        let start = Instant::now();
        for i in 0..10_000 {
            black_box(ring.pick(black_box(&keys[i % keys.len()])));
        }
        start.elapsed().as_nanos() as f64 / 10_000.0
    };
    Ok((0..20).map(run).fold(f64::INFINITY, f64::min))
}

fn nodes(count: usize) -> Vec<Node> {
    (0..count).map(|i| Node::new(format!("cache-{i:02}.example.com"), 11211)).collect()
}

/// Keys of 20 bytes.
fn keys() -> Vec<Vec<u8>> {
    (0..1000).map(|i| format!("user:profile:{i:07}").into_bytes()).collect()
}

const ROUTERS: &[&str] = &[
    "rendezvous",
    "jump",
    "modula-libmemcached",
    "ketama-libmemcached",
    "ketama-libmemcached-weighted",
    "ketama-twemproxy",
    "ketama-aws",
    "dalli",
    "bmemcached",
    "pymemcache",
];

const N_COUNTED: usize = 10_000;
