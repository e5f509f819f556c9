//! The client beside its peers, and what routing costs.
//!
//! `cargo xtask bench client` builds and runs this; see the modules for what exactly each mode does.

#![forbid(unsafe_code)]

mod peers;
mod pick;
mod server;

use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuthatch-client-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match *words {
        [] => {
            peers::run(None)?;
            pick::run()
        }
        ["peers"] => peers::run(None),
        ["peers", server] => peers::run(Some(server)),
        ["count"] => peers::count(None),
        ["count", server] => peers::count(Some(server)),
        ["pick"] => pick::run(),
        ["child", "peers", client, load, port, n_rounds] => {
            peers::measure(client, load, port.parse()?, n_rounds.parse()?)
        }
        ["child", "pick", router, n_nodes, n_picks] => {
            pick::measure(router, n_nodes.parse()?, n_picks.parse()?)
        }
        _ => {
            print!("{HELP}");
            Ok(())
        }
    }
}

const HELP: &str = "\
cargo xtask bench client                   everything, about a minute on a quiet machine
cargo xtask bench client peers [SERVER]    requests per second of CPU time, beside other clients;
                                           the server is memcached out of PATH, or this program
cargo xtask bench client count [SERVER]    instructions per request; wants valgrind
cargo xtask bench client pick              instructions to find a key's node; wants valgrind
";
