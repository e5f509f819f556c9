//! `cargo xtask guests`: clients that others wrote, installed and used against `nuthatchd`.
//!
//! The tests themselves are the server's (`clients…` in its `tests/it`, with a script for each client
//! in `tests/guests`) and skip what is not there. This command puts what takes longer to install
//! into the target folder, or says why it could not, and then runs them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::run;

/// Installs what can be had, and runs the tests of the clients; arguments go to the tests.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let folder = run::target().join("guests");
    fs::create_dir_all(&folder).context("the folder for clients")?;
    // Cargo's own folder may have been given relative to where it was called.
    let folder = fs::canonicalize(&folder)?;
    for (name, program, command) in installers(&folder) {
        if !attempt(Command::new(program).args(command).current_dir(&folder)) {
            println!("not installed: {name}");
        }
    }
    let given = env::var_os("NUTHATCH_CHECKOUTS").map(PathBuf::from);
    for repository in CHECKOUTS {
        let to = folder.join("checkouts").join(name_of(repository));
        if !to.exists() && !attempt(&mut clone(given.as_deref(), repository, &to)) {
            println!("not installed: {repository}");
        }
    }
    let java = folder.join("java");
    fs::create_dir_all(&java).context("the folder for Java clients")?;
    if let Some(jars) = env::var_os("NUTHATCH_JARS") {
        for jar in env::split_paths(&jars) {
            let name = jar.file_name().context("NUTHATCH_JARS names a folder")?;
            fs::copy(&jar, java.join(name)).with_context(|| jar.display().to_string())?;
        }
    }
    let filters = if args.is_empty() { &FILTERS.map(str::to_owned) } else { args };
    run::done(
        run::cargo()
            .args(["test", "--package", "nuthatch-server", "--test", "it", "--"])
            .args(filters)
            .arg("--nocapture")
            .env("NUTHATCH_GUESTS", &folder),
    )
}

/// What is to be installed, and by which program with which arguments.
fn installers(folder: &Path) -> Vec<(String, &'static str, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut all = Vec::new();
    let npm = [&["install", "--no-save", "--prefix", "."], NPM].concat();
    all.push((format!("npm's {}", NPM.join(", ")), "npm", words(&npm)));
    for module in PYTHON {
        let pip = words(&["-m", "pip", "install", "-q", module]);
        all.push((format!("Python's {module}"), "python3", pip));
    }
    for module in PYTHON_APART {
        let pip = ["-m", "pip", "install", "-q", "--upgrade", "--target"].map(str::to_owned);
        let to = format!("python/{}", module.split("==").next().unwrap_or(module));
        let what = module.split(' ').map(str::to_owned);
        all.push((
            format!("Python's {module}"),
            "python3",
            pip.into_iter().chain([to]).chain(what).collect(),
        ));
    }
    for package in DEBIAN {
        let apt = words(&["install", "-q", "-y", "--no-install-recommends", package]);
        all.push((format!("Debian's {package}"), "apt-get", apt));
    }
    debug_assert!(folder.is_absolute(), "node looks there from wherever it is started");
    all
}

/// Gets what no package index has: from a folder of checkouts if one is given, or from GitHub.
fn clone(given: Option<&Path>, repository: &str, to: &Path) -> Command {
    let mut git = Command::new("git");
    git.args(["clone", "--quiet"]);
    match given {
        Some(folder) => git.arg(folder.join(name_of(repository))),
        None => git.args(["--depth", "1"]).arg(format!("https://github.com/{repository}")),
    };
    // Without a question on the terminal where the network has an opinion of its own.
    git.arg(to).env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    git
}

/// A repository without its owner.
fn name_of(repository: &str) -> &str {
    repository.rsplit('/').next().unwrap_or(repository)
}

/// Whether a program was there and ended well; what it prints is of interest where it did not.
fn attempt(command: &mut Command) -> bool {
    match command.env("DEBIAN_FRONTEND", "noninteractive").output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            print!("{}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            println!("{}: {error}", command.get_program().display());
            false
        }
    }
}

/// The tests in which such clients are used.
const FILTERS: [&str; 5] =
    ["cluster_clients::", "clients::", "clients_login::", "clients_tls::", "tutorial::"];

const NPM: &[&str] = &[
    "memjs@1.3.2",
    "memcached@2.2.2",
    "memcache@1.7.0",
    "memcache-plus@0.3.1",
    "memcached-elasticache@1.1.1",
    "memcache-pp@0.3.3",
    "elasticache-client@0.0.7",
];

const PYTHON: &[&str] =
    &["pymemcache", "pylibmc", "python-binary-memcached", "emcache", "aiomcache"];

/// Each in a folder of its own: they bring modules of the same names, or want others' old versions.
const PYTHON_APART: &[&str] = &[
    "django-elasticache==1.0.3 django<4",
    "django-elastipymemcache==3.0.0",
    "elasticache-auto-discovery==1.0.0 pymemcache",
    "elasticache_pyclient==2.1.2",
    "pyelasticache_client==0.1.3",
];

/// Used as they are, from the folder: there is nothing to build.
const CHECKOUTS: &[&str] = &["ktheory/dalli-elasticache", "pinterest/pymemcache"];

const DEBIAN: &[&str] = &[
    "default-jre-headless",
    "gnutls-bin",
    "libmemcached-tools",
    "libspymemcached-java",
    "openssl",
    "php-cli",
    "php-memcached",
    "ruby",
    "ruby-dalli",
    "sasl2-bin",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_an_installer() {
        let all = installers(Path::new("/target/guests"));
        assert_eq!(all.len(), 1 + PYTHON.len() + PYTHON_APART.len() + DEBIAN.len());
        assert!(all.iter().all(|(_, program, args)| !program.is_empty() && args.len() > 3));
    }

    #[test]
    fn what_cannot_be_installed_is_no_error() {
        assert!(!attempt(&mut Command::new("/no/such/installer")));
        assert!(!attempt(&mut Command::new("false")));
        assert!(attempt(&mut Command::new("true")));
    }
}
