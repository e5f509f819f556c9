//! The checks that need more than `cargo test`: fuzzing, interleavings, data races, and
//! memcached's own tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::run;

/// Fuzzes one target for so many seconds, or every target in turn.
///
/// cargo-fuzz wants a nightly compiler for `-Zsanitizer`; a stable one that is told to forget that
/// it is stable does as well.
pub(crate) fn fuzz(args: &[String]) -> Result<()> {
    let (target, seconds) = match args {
        [] => (None, FUZZ_SECONDS),
        [one] => match one.parse() {
            Ok(seconds) => (None, seconds),
            Err(_) => (Some(one), FUZZ_SECONDS),
        },
        [target, seconds] => (Some(target), seconds.parse().context("seconds")?),
        _ => bail!("usage: cargo xtask fuzz [target] [seconds]"),
    };
    let mut found = false;
    for (folder, name) in fuzz_targets(&run::root().join("crates"))? {
        if target.is_some_and(|target| *target != name) {
            continue;
        }
        found = true;
        println!("fuzzing {name} for {seconds} s");
        let mut fuzzer = run::cargo();
        fuzzer.current_dir(&folder).env("RUSTC_BOOTSTRAP", "1");
        fuzzer.args(["fuzz", "run", &name, "--", &format!("-max_total_time={seconds}")]);
        if folder.join(FUZZ_WORDS).exists() {
            fuzzer.arg(format!("-dict={FUZZ_WORDS}"));
        }
        run::done(&mut fuzzer)
            .context("if cargo has no `fuzz` command: cargo install cargo-fuzz --locked")?;
    }
    match target {
        Some(target) if !found => bail!("no fuzz target {target:?}"),
        _ => Ok(()),
    }
}

/// Every `crates/*/fuzz/fuzz_targets/NAME.rs`, with the crate's folder.
fn fuzz_targets(crates: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut targets = Vec::new();
    for folder in fs::read_dir(crates).context("crates")? {
        let folder = folder?.path();
        let Ok(sources) = fs::read_dir(folder.join("fuzz/fuzz_targets")) else { continue };
        for source in sources {
            let source = source?.path();
            if let (Some("rs"), Some(name)) = (
                source.extension().and_then(|extension| extension.to_str()),
                source.file_stem().and_then(|name| name.to_str()),
            ) {
                targets.push((folder.clone(), name.to_owned()));
            }
        }
    }
    targets.sort();
    Ok(targets)
}

/// Runs the store's loom models: the tests that exist under `cfg(loom)`.
pub(crate) fn loom(args: &[String]) -> Result<()> {
    let preemptions = env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| "3".to_owned());
    run::done(
        run::cargo()
            .args(["test", "--release", "--package", "nuthatch-store", "--lib"])
            .args(args)
            .env("RUSTFLAGS", "--cfg loom")
            .env("LOOM_MAX_PREEMPTIONS", preemptions)
            .env("CARGO_TARGET_DIR", run::target().join("loom")),
    )
}

/// Runs tests under ThreadSanitizer, with a standard library that is instrumented too; without
/// that, correct code gives false reports.
///
/// The instrumented library is built from sources, which the toolchain's own compiler does not
/// come with; Debian packages a compiler with its sources, and is asked for it. Its packages are
/// unpacked into the target folder, not installed. The sanitizer's runtime is the toolchain's.
pub(crate) fn tsan(args: &[String]) -> Result<()> {
    let folder = run::target().join("tsan");
    let unpacked = folder.join("unpacked");
    if !unpacked.join("usr/bin/rustc").exists() {
        fetch_compiler(&folder, &unpacked)?;
    }
    let sysroot = run::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TSAN_TARGET);
    let runtime = library.join("lib/librustc-stable_rt.tsan.a");
    if !runtime.exists() {
        bail!("the toolchain has no {}", runtime.display());
    }
    let linker = [
        format!("-B{}", library.join("bin/gcc-ld").display()),
        "-fuse-ld=lld".to_owned(),
        "-Wl,--whole-archive".to_owned(),
        runtime.display().to_string(),
        "-Wl,--no-whole-archive".to_owned(),
        "-lstdc++".to_owned(),
        "-ldl".to_owned(),
        "-lm".to_owned(),
        "-lpthread".to_owned(),
        "-lc".to_owned(),
    ];
    let mut flags = "-Zsanitizer=thread -Zexternal-clangrt".to_owned();
    for word in linker {
        flags.push_str(" -Clink-arg=");
        flags.push_str(&word);
    }
    let (packages, for_tests) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at..]),
        None => (args, &[][..]),
    };
    let default = [String::from("nuthatch-store")];
    let packages = if packages.is_empty() { &default } else { packages };
    run::done(
        Command::new(unpacked.join("usr/bin/cargo"))
            .current_dir(run::root())
            .args(["test", "-Zbuild-std", "--target", TSAN_TARGET, "--lib", "--tests"])
            .args(packages.iter().flat_map(|package| ["--package", package]))
            .args(for_tests)
            .env("LD_LIBRARY_PATH", unpacked.join("usr/lib/x86_64-linux-gnu"))
            .env("RUSTC", unpacked.join("usr/bin/rustc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", folder.join("build")),
    )
}

/// Downloads Debian's compiler and unpacks it.
fn fetch_compiler(folder: &Path, unpacked: &Path) -> Result<()> {
    fs::create_dir_all(unpacked)?;
    println!("fetching Debian's rustc with its sources into {}", folder.display());
    run::done(Command::new("apt-get").arg("download").args(TSAN_PACKAGES).current_dir(folder))
        .context("the compiler's packages; if their versions are gone: apt-get update")?;
    for package in fs::read_dir(folder)? {
        let package = package?.path();
        if package.extension().is_some_and(|extension| extension == "deb") {
            run::done(Command::new("dpkg").arg("-x").arg(&package).arg(unpacked))?;
        }
    }
    Ok(())
}

/// Runs the server's robustness tests in their long versions, with a release build: ten thousand
/// connections, a value of a gibibyte, garbage for minutes, thousands of guessing clients. Wants
/// 8 GiB of memory and as many open files as connections.
pub(crate) fn soak(args: &[String]) -> Result<()> {
    let filter = args.first().map_or("robustness", String::as_str);
    run::done(
        run::cargo()
            .args(["test", "--release", "--package", "nuthatch-server", "--test", "it", "--"])
            .args([filter, "--nocapture", "--test-threads", "1"])
            .env("NUTHATCH_SOAK", "1"),
    )
}

/// Kills, stops, cuts off and restarts nodes and etcd under the load of our client, and prints what
/// it saw of it: every scenario whose name has the filter in it, and faults at random for so many
/// seconds. Wants etcd. Where the system lets this process have namespaces of its own, packets are
/// dropped and a disk is full there too; else those say that they are skipped.
pub(crate) fn faults(args: &[String]) -> Result<()> {
    let (mut seconds, mut seed, mut filter) = (FAULTS_SECONDS, None, String::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64> {
            args.next().and_then(|text| text.parse().ok()).with_context(|| format!("{arg} NUMBER"))
        };
        match &**arg {
            "--seconds" => seconds = number()?,
            "--seed" => seed = Some(number()?),
            name if name.starts_with('-') || !filter.is_empty() => {
                bail!("usage: cargo xtask faults [--seconds N] [--seed N] [scenario]")
            }
            name => filter.push_str(name),
        }
    }
    let test = ["test", "--release", "--package", "nuthatch-client", "--test", "it"];
    run::done(run::cargo().args(["build", "--release", "--package", "nuthatch-server"]))?;
    run::done(run::cargo().args(test).arg("--no-run"))?;
    let alone = ["--map-root-user", "--net", "--mount"];
    let may = Command::new("unshare").args(alone).args(["ip", "link", "set", "lo", "up"]).output();
    let mut command = if may.is_ok_and(|output| output.status.success()) {
        let cargo = run::cargo();
        let mut command = Command::new("unshare");
        command.args(alone).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
        command.arg(cargo.get_program()).current_dir(run::root());
        command
    } else {
        println!("no namespaces for this process: some scenarios will be skipped");
        run::cargo()
    };
    command.args(test).args(["--offline", "--", "--nocapture", "--test-threads", "1"]);
    command.arg(format!("faults::{filter}")).env("NUTHATCH_FAULTS", seconds.to_string());
    if let Some(seed) = seed {
        command.env("NUTHATCH_FAULTS_SEED", seed.to_string());
    }
    run::done(&mut command)
}

/// Runs memcached's own tests, by a script given by its path, against a release build of
/// `nuthatchd`. Neither the script nor the tests are part of this repository.
pub(crate) fn upstream_suite(args: &[String]) -> Result<()> {
    let script = env::var_os("UPSTREAM_SUITE")
        .context("UPSTREAM_SUITE must name the script that runs memcached's t/ folder")?;
    if env::var_os("MEMCACHED_GIT").is_none() {
        bail!("MEMCACHED_GIT must name a git folder of memcached's repository");
    }
    run::done(run::cargo().args(["build", "--release", "--package", "nuthatch-server"]))?;
    let server = run::target().join("release/nuthatchd");
    run::done(Command::new(script).arg(server).args(args).current_dir(run::root()))
}

/// The words that a crate's inputs are made of, for the fuzzer to try.
const FUZZ_WORDS: &str = "fuzz/text.dict";

/// How long faults come at random where nothing is said.
const FAULTS_SECONDS: u64 = 600;

/// How long one target is fuzzed where nothing is said.
const FUZZ_SECONDS: u64 = 60;

/// The only target that the packages below are for.
const TSAN_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Debian's compiler, its sources, and the libraries that both programs load.
const TSAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-1.96",
    "libstd-rust-web-dev",
    "rust-web-src",
    "libllvm22",
    "libgit2-1.5",
    "libmbedcrypto7",
    "libmbedtls14",
    "libmbedx509-1",
    "libhttp-parser2.9",
    "libssh2-1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fuzz_targets_and_bad_numbers_are_errors() {
        let words =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let error = fuzz(&words(&["no_such_target", "1"])).unwrap_err();
        assert_eq!(error.to_string(), "no fuzz target \"no_such_target\"");
        assert!(fuzz(&words(&["x", "soon"])).is_err());
        assert!(fuzz(&words(&["x", "1", "y"])).is_err());
    }

    #[test]
    fn faults_are_asked_for_in_words() {
        for words in [&["--seconds"][..], &["--seconds", "x"], &["--x"], &["a", "b"]] {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            assert!(faults(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn fuzz_targets_are_found_by_their_folder() {
        for (folder, name) in fuzz_targets(&run::root().join("crates")).unwrap() {
            assert!(folder.join(format!("fuzz/fuzz_targets/{name}.rs")).exists());
        }
    }
}
