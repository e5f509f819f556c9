//! Running other people's clients: a script in their language for each, under `tests/guests`.
//!
//! A script takes everything it needs from variables that begin with `GUEST_`, asserts for itself,
//! and says by its exit status that its client is not installed: then there is nothing to test.
//! What takes long to install is put together by `cargo xtask guests`, in a folder that
//! `NUTHATCH_GUESTS` names.

use std::{
    env,
    ffi::OsString,
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nuthatch_testkit::{Daemon, find_program};

use crate::support::skip;

/// What a script exits with whose client is not installed.
pub(crate) const NOT_INSTALLED: i32 = 77;

/// Where Debian puts spymemcached.
const SPYMEMCACHED: &str = "/usr/share/java/spymemcached.jar";

/// Somebody else's client, and how it is to connect.
pub(crate) struct Guest {
    script: &'static str,
    env: Vec<(&'static str, String)>,
    of_system: bool,
    modules: Option<&'static str>,
}

/// A client by the script that uses it; without more it speaks plain text and does not log in.
pub(crate) fn guest(script: &'static str) -> Guest {
    Guest { script, env: Vec::new(), of_system: false, modules: None }
}

impl Guest {
    /// With the interpreter and the modules that the system packages: what others bring their own
    /// libraries with may lack parts of them.
    pub(crate) fn of_system(mut self) -> Self {
        self.of_system = true;
        self
    }

    /// With the modules that lie in this folder of those that [`NUTHATCH_GUESTS`](self) names, in
    /// front of others: what no package index has, and what cannot be installed beside others.
    pub(crate) fn modules(mut self, folder: &'static str) -> Self {
        self.modules = Some(folder);
        self
    }

    /// With the binary protocol, where the client speaks both.
    pub(crate) fn binary(self) -> Self {
        self.with("GUEST_PROTOCOL", "binary")
    }

    /// Over TLS, to a server whose certificate is verified with this one.
    pub(crate) fn tls(self, ca: &Path) -> Self {
        self.with("GUEST_CA", ca.to_str().unwrap())
    }

    /// In this version of TLS and no other: `1.2`, `1.3`.
    pub(crate) fn tls_version(self, version: &str) -> Self {
        self.with("GUEST_TLS", version)
    }

    /// Logging in with this name and password; the script tries wrong ones too.
    pub(crate) fn user(self, user: &str, password: &str) -> Self {
        self.with("GUEST_USER", user).with("GUEST_PASSWORD", password)
    }

    /// With a variable of its own.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Uses a server; whether there was a client to use it.
    #[track_caller]
    pub(crate) fn run(self, daemon: &Daemon) -> bool {
        let Some(mut command) = self.command() else {
            skip(&format!("nothing here runs {}", self.script));
            return false;
        };
        match (daemon.port(), daemon.socket_path()) {
            (Some(port), _) => command.env("GUEST_PORT", port.to_string()),
            (None, path) => command.env("GUEST_PATH", path.unwrap()),
        };
        self.add_env(&mut command);
        let output = command.stdin(Stdio::null()).output().unwrap();
        match output.status.code() {
            Some(NOT_INSTALLED) => {
                skip(&format!("the client of {} is not installed", self.script));
                false
            }
            Some(0) => {
                eprint!("{}", String::from_utf8_lossy(&output.stdout));
                true
            }
            _ => panic!("{self}: {}", all_of(&output)),
        }
    }

    /// Tells the script how its client is to connect.
    pub(crate) fn add_env(&self, command: &mut Command) {
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
    }

    /// The script under its interpreter, if that is installed.
    pub(crate) fn command(&self) -> Option<Command> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(self.script);
        let extension = script.extension().unwrap().to_str().unwrap();
        let folder = env::var_os("NUTHATCH_GUESTS").map(PathBuf::from);
        let program = match extension {
            "py" => "python3",
            "php" => "php",
            "rb" => "ruby",
            "js" => "node",
            "java" => "java",
            other => panic!("what runs {other}?"),
        };
        let of_system = Path::new("/usr/bin").join(program);
        let mut command = Command::new(if self.of_system && of_system.exists() {
            of_system
        } else {
            find_program(program)?
        });
        if let Some(folder) = &folder {
            command.env("NODE_PATH", folder.join("node_modules"));
            if let Some(modules) = self.modules {
                let name = if extension == "rb" { "RUBYLIB" } else { "PYTHONPATH" };
                let mut all = vec![folder.join(modules)];
                all.extend(env::var_os(name).iter().flat_map(env::split_paths));
                command.env(name, env::join_paths(all).unwrap());
            }
        }
        if let ("php", Some(library)) = (extension, env::var_os("NUTHATCH_PHP_EXTENSION")) {
            // Instead of the system's, which has the same name.
            let mut word = OsString::from("extension=");
            word.push(library);
            command.arg("-n").arg("-d").arg(word);
        }
        if extension == "java" {
            // Whatever is in the folder goes before what Debian has.
            let own = folder.map_or_else(PathBuf::new, |folder| folder.join("java/*"));
            if own.as_os_str().is_empty() && !Path::new(SPYMEMCACHED).exists() {
                return None;
            }
            command.arg("-cp").arg(env::join_paths([own, SPYMEMCACHED.into()]).unwrap());
        }
        command.arg(script);
        Some(command)
    }
}

impl fmt::Display for Guest {
    /// The script, and how it is to connect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.script)?;
        self.env.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// What a program said, and how it ended.
pub(crate) fn all_of(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// What a program prints that is given this to send and then talks to the end of the connection.
pub(crate) fn typed(command: &mut Command, said: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who mistrusts the server may have left already.
    let _ = stdin.write_all(said.as_bytes());
    // Not before the server has ended it: some programs leave at the end of their input, and with
    // them the answers.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    all_of(&output)
}
