//! A cluster as its clients see it, while nodes come, go and die.
//!
//! ```sh
//! cargo run -p nuthatch-examples --bin cluster                # the three of the walk-through
//! cargo run -p nuthatch-examples --bin cluster -- --etcd      # the same, asking etcd
//! cargo run -p nuthatch-examples --bin cluster -- URL         # any other
//! cargo run -p nuthatch-examples --bin cluster -- --start     # an etcd and nodes of its own
//! ```
//!
//! It keeps a light load on the cluster and says once a second how that went, and at once what
//! happens to the nodes. With `--start` something does: one is killed, one added, one ended. The
//! walk-through is in `examples/cluster/README.md`. Ctrl-C ends it, and what it has started.
//!
//! `watch.rs` is what a program of yours would have in it; `own.rs` is only for `--start`.

mod own;
mod watch;

use std::error::Error;
use std::process::ExitCode;

use nuthatch_client::Client;
use tokio::signal::unix::{SignalKind, signal};

use crate::own::Own;
use crate::watch::Watch;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Any of the nodes knows all others. Clients ask once a minute, unless they are told to ask more
/// often.
const NODES: &str = "memcached+discover://127.0.0.1:11301,127.0.0.1:11302,127.0.0.1:11303/?poll=1s";

/// etcd itself tells its changes as they happen.
const ETCD: &str = "memcached+etcd://127.0.0.1:2379/cache";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = tokio::select! {
        shown = show() => shown,
        told = told_to_end() => told,
    };
    if let Err(error) = &ended {
        eprintln!("{error}");
    }
    ExitCode::from(u8::from(ended.is_err()))
}

async fn show() -> Result<()> {
    let (mut starts, mut asks_etcd, mut url) = (false, false, None);
    for arg in std::env::args().skip(1) {
        match &*arg {
            "--start" => starts = true,
            "--etcd" => asks_etcd = true,
            _ if arg.contains("://") => url = Some(arg),
            _ => return Err(format!("{arg} is neither --start, nor --etcd, nor a URL").into()),
        }
    }
    if starts {
        return show_own(asks_etcd).await;
    }
    let url = url.as_deref().unwrap_or(if asks_etcd { ETCD } else { NODES });
    Watch::of(Client::connect(url).await?).run().await;
    Ok(())
}

/// Starts a cluster, plays with it and watches; it ends with this call, however that ends.
async fn show_own(asks_etcd: bool) -> Result<()> {
    let mut own = Own::start().await?;
    let url = if asks_etcd { own.etcd_url() } else { own.nodes_url() };
    let watch = Watch::of(Client::connect(&url).await?);
    tokio::select! {
        () = watch.run() => Ok(()),
        played = own.play(&watch) => played,
    }
}

/// Waits for Ctrl-C, or for another signal that would end this program and leave the nodes behind.
async fn told_to_end() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
