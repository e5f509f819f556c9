//! The automation of the workspace: `cargo xtask <command>`.
//!
//! Every command works from any folder of the workspace, names no path of a particular machine and
//! says what to install where something is missing.

#![forbid(unsafe_code)]

mod bench;
mod dist;
mod docs;
mod features;
mod guests;
mod run;
mod tidy;
mod vectors;
mod verify;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match dispatch(command.as_deref(), &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<&str>, args: &[String]) -> Result<()> {
    match command {
        Some("tidy") => tidy::run(),
        Some("dist") => dist::run(args),
        Some("docs") => docs::run(),
        Some("bench") => bench::run(args),
        Some("faults") => verify::faults(args),
        Some("features") => features::run(args),
        Some("fuzz") => verify::fuzz(args),
        Some("guests") => guests::run(args),
        Some("loom") => verify::loom(args),
        Some("soak") => verify::soak(args),
        Some("tsan") => verify::tsan(args),
        Some("vectors") => vectors::run(args),
        Some("upstream-suite") => verify::upstream_suite(args),
        None | Some("help" | "-h" | "--help") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("no command {other:?}; `cargo xtask help` lists them"),
    }
}

const HELP: &str = "\
cargo xtask tidy                      check the rules that no compiler checks
cargo xtask bench client [mode]       the client beside its peers; `--help` lists the modes
cargo xtask bench store [mode] [args] the engine beside its peers; `--help` lists the modes
cargo xtask bench tls [seconds]       the same requests with TLS and without, side by side
cargo xtask dist [--target TRIPLE] [--profile NAME] [--deb]
                                      lay out what is installed, and pack it
cargo xtask docs                      write the manual and reference pages anew
cargo xtask faults [--seconds N] [--seed N] [scenario]
                                      nodes and etcd killed, stopped, cut off, under load; then
                                      at random (600 s)
cargo xtask features                  each package with each of its features, alone and together
cargo xtask fuzz [target] [seconds]   fuzz one target, or each in turn (60 s)
cargo xtask guests [filter]           clients that others wrote, installed and used; what no
                                      package index has is cloned from GitHub, or from the
                                      folder NUTHATCH_CHECKOUTS; jars named in NUTHATCH_JARS
                                      and the extension NUTHATCH_PHP_EXTENSION are used too
cargo xtask loom [filter]             every interleaving of the store's small parts
cargo xtask soak [filter]             nuthatchd against rude clients, the long versions
cargo xtask tsan [package…] [-- test] tests under ThreadSanitizer (default: nuthatch-store)
cargo xtask upstream-suite [args]     memcached's own tests against nuthatchd; wants the
                                      script's path in UPSTREAM_SUITE, and MEMCACHED_GIT
cargo xtask vectors DIR               pack recordings of where other clients put keys
";
