//! As Debian starts memcached: `/etc/memcached.conf`, by its own scripts and by `--config`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use nuthatch_testkit::{Daemon, find_program};

use crate::support::{Client, NUTHATCHD, eventually, proc_status, run, signal, skip, told_pid};

/// What the Debian package has to say.
const SCRIPTS: &str = "/usr/share/memcached/scripts";

/// A folder with a file in the distribution's form, on a free port and with paths of its own.
struct Place {
    folder: tempfile::TempDir,
    has_user: bool,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whom the server becomes writes its files here.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let has_user = matches!(User::from_name("memcache"), Ok(Some(_)));
        let place = Self { folder, has_user };
        let user = if has_user { "memcache" } else { "nobody" };
        let conf = format!(
            "# memcached default config file\n\
             -d\n\n\
             logfile {}\n\n\
             # Be verbose\n# -v\n\
             -m 48\n-p -1\n-u {user}\n-l 127.0.0.1\n\
             # -c 1024\n# -k\n-c 77 # clients\n\
             -o idle_timeout=60,no_lru_crawler\n\
             -P {}\n",
            place.path("log").display(),
            place.path("pid").display(),
        );
        fs::write(place.path("conf"), conf).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ends_up(&self) -> SocketAddr {
        eventually("the port file is there", || self.path("ports").exists());
        let ports = fs::read_to_string(self.path("ports")).unwrap();
        let port = ports.trim_end().strip_prefix("TCP INET: ").unwrap().parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Checks that the options of the file are those of the server, and gives its pid.
    fn is_served(&self) -> u32 {
        let mut client = Client::on(std::net::TcpStream::connect(self.ends_up()).unwrap());
        assert_eq!(client.stat("stats settings", "maxbytes"), (48 << 20).to_string());
        assert_eq!(client.stat("stats settings", "maxconns"), "77");
        assert_eq!(client.stat("stats settings", "idle_timeout"), "60");
        assert_eq!(client.stat("stats settings", "lru_crawler"), "no");
        let pid = u32::try_from(client.number("pid")).unwrap();
        assert_eq!(fs::read_to_string(self.path("pid")).unwrap(), format!("{pid}\n"));
        if nix::unistd::geteuid().is_root() {
            let uids = proc_status(pid, "Uid:");
            assert!(!uids.split_whitespace().any(|uid| uid == "0"), "{uids}");
        }
        pid
    }

    /// One of the package's scripts, which starts our program instead.
    fn script(&self, name: &str) -> Option<Command> {
        let (Ok(text), Some(perl)) =
            (fs::read_to_string(Path::new(SCRIPTS).join(name)), find_program("perl"))
        else {
            skip("Debian's memcached package or perl is not here");
            return None;
        };
        if !nix::unistd::geteuid().is_root() || !self.has_user {
            skip("the script serves root only, and its file names the user memcache");
            return None;
        }
        assert!(text.contains("\"/usr/bin/memcached\""));
        let script = self.path(name);
        fs::write(&script, text.replace("\"/usr/bin/memcached\"", &format!("{NUTHATCHD:?}")))
            .unwrap();
        let mut command = Command::new(perl);
        command.arg(script).arg(self.path("conf"));
        Some(command)
    }

    fn spawn(&self, command: &mut Command) -> Server {
        let errors = fs::File::create(self.path("errors")).unwrap();
        command.env("MEMCACHED_PORT_FILENAME", self.path("ports"));
        Server(command.stdin(Stdio::null()).stderr(errors).spawn().unwrap())
    }
}

impl Drop for Place {
    /// Leaves no daemon behind when a test fails.
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("pid")).ok().and_then(|pid| pid.trim().parse().ok());
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_systemd_wrapper_starts_us_unchanged() {
    let place = Place::new();
    let Some(mut command) = place.script("systemd-memcached-wrapper") else { return };
    let mut server = place.spawn(&mut command);
    assert_eq!(place.is_served(), server.0.id(), "the script becomes the server");
    signal(server.0.id(), Signal::SIGTERM);
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn start_memcached_starts_us_unchanged() {
    let place = Place::new();
    let Some(mut command) = place.script("start-memcached") else { return };
    let pidfile = place.path("script.pid");
    let mut script = place.spawn(command.arg(&pidfile));
    assert!(script.0.wait().unwrap().success());
    let pid = place.is_served();
    eventually("the script's pid file", || {
        fs::read_to_string(&pidfile).is_ok_and(|text| text == pid.to_string())
    });
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("listening on tcp:127.0.0.1:"), "{log}");
    signal(pid, Signal::SIGTERM);
    eventually("the pid file is removed", || !place.path("pid").exists());
}

#[test]
fn config_reads_the_same_file() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become somebody else");
    }
    let place = Place::new();
    let mut command = Command::new(NUTHATCHD);
    let mut server = place.spawn(command.arg("--config").arg(place.path("conf")));
    assert_eq!(place.is_served(), server.0.id(), "a line -d is for the scripts");
    let errors = fs::read_to_string(place.path("errors")).unwrap();
    assert!(errors.contains("listening on tcp:127.0.0.1:"), "{errors}");
    assert_eq!(fs::read_link(format!("/proc/{}/fd/2", server.0.id())).unwrap(), place.path("log"));
    signal(server.0.id(), Signal::SIGUSR1);
    assert!(server.0.wait().unwrap().success());
    drop(server);

    // The command line has the last word, and -d is its to say.
    fs::remove_file(place.path("ports")).unwrap();
    let mut first = place.spawn(command.args(["-d", "-c", "9"]));
    assert!(first.0.wait().unwrap().success());
    let mut client = Client::on(std::net::TcpStream::connect(place.ends_up()).unwrap());
    assert_eq!(client.stat("stats settings", "maxconns"), "9");
    let pid = u32::try_from(client.number("pid")).unwrap();
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/1")).unwrap(), place.path("log"));
    signal(pid, Signal::SIGTERM);
    eventually("the pid file is removed", || !place.path("pid").exists());
}

#[test]
fn the_journal_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let [conf, log, ports] = ["conf", "log", "ports"].map(|name| folder.path().join(name));
    fs::write(&conf, format!("logfile {}\n", log.display())).unwrap();
    // Any stream will do that the variable names.
    let journal = fs::File::create(folder.path().join("journal")).unwrap();
    let of = journal.metadata().unwrap();
    let child = Command::new(NUTHATCHD)
        .args(["-u", "root", "-p", "-1", "--config", conf.to_str().unwrap()])
        .env("JOURNAL_STREAM", format!("{}:{}", of.dev(), of.ino()))
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stdin(Stdio::null())
        .stderr(journal)
        .spawn()
        .unwrap();
    let _server = Server(child);
    eventually("the port file is there", || ports.exists());
    let text = fs::read_to_string(folder.path().join("journal")).unwrap();
    assert!(text.contains("output stays in the journal"), "{text}");
    assert!(!log.exists());
}

#[test]
fn mistakes_in_the_file_are_shown_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("conf");
    fs::write(&conf, "# one\n-m 64\n-c none\n").unwrap();
    let output = run(&["--config", conf.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("{}:3: invalid value for -c: \"none\"\n", conf.display());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);

    // A log file that cannot be written ends the start, loudly.
    fs::write(&conf, "logfile /no/such/folder/log\n").unwrap();
    let output = run(&["--config", conf.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(71));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/folder/log"));

    fs::write(&conf, "-m 100\n").unwrap();
    let args = ["--config", conf.to_str().unwrap(), "-m", "200"];
    let daemon = Daemon::builder(NUTHATCHD).args(args).start().unwrap();
    assert_eq!(told_pid(daemon.connect().unwrap()), u64::from(daemon.pid()));
    assert_eq!(Client::of(&daemon).stat("stats settings", "maxbytes"), (200 << 20).to_string());
}
