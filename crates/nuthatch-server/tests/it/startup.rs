//! From the command line to the first connection, and the end.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    sys::{
        resource::{Resource, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use nuthatch_testkit::Daemon;

use crate::support::{
    Bare, Client, NUTHATCHD, eventually, proc_status, run, signal, skip, told_pid,
};

#[track_caller]
fn ends(args: &[&str], code: i32, message: &str) {
    let output = run(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(message), "{args:?}: {stderr}");
}

#[test]
fn mistakes_end_the_program_with_memcached_s_codes() {
    ends(&["-c", "0"], 1, "Maximum connections must be greater than 0");
    ends(&["-o", "frob"], 1, "Illegal suboption \"frob\"");
    ends(&["-x"], 1, "Illegal argument \"?\"");
    ends(&["-I", "1000"], 64, "Item max size cannot be less than 1024 bytes.");
    ends(&["-e", "x"], 64, "-e (--memory-file) is not supported by this build yet");
    ends(&["-l", "no-such-host.invalid"], 71, "no-such-host.invalid");
    ends(&["-l", "127.0.0.1:x"], 64, "Invalid port number: \"x\"");
}

#[test]
fn who_is_not_root_locks_memory_where_the_limit_allows() {
    // Of all that this test starts, only what is asked to takes notice.
    let limit = 2 << 30;
    if setrlimit(Resource::RLIMIT_MEMLOCK, limit, limit).is_err() {
        return skip("may not lock 2 GiB");
    }
    let bare = Bare::start_as(&["-u", "nobody", "-k", "-m", "64", "-l", "127.0.0.1", "-p", "-1"]);
    let locked = proc_status(bare.pid(), "VmLck:");
    let kib: u64 = locked.trim_end_matches(" kB").parse().unwrap();
    assert!((64 << 10..2 << 20).contains(&kib), "{locked}; {}", bare.stderr());
    assert!(!bare.stderr().contains("mlockall"), "{}", bare.stderr());
    let stream = TcpStream::connect(bare.addresses()[0]).unwrap();
    let mut client = Client::on(stream);
    assert_eq!(client.ask("cache_memlimit 32"), "OK");
    assert_eq!(client.ask("cache_memlimit 64"), "OK");
    let refusal = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust";
    assert_eq!(client.ask("cache_memlimit 1024"), refusal);
}

#[test]
fn help_and_version_end_well() {
    for flag in ["-h", "-i", "-V"] {
        let output = run(&[flag]);
        assert!(output.status.success());
        assert!(output.stdout.starts_with(b"memcached 1.6.45\n"), "{flag}");
        assert_eq!(output.stderr, b"");
    }
}

#[test]
fn a_taken_port_is_said_on_the_terminal_also_by_a_daemon() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = format!("failed to listen on TCP port {port}");
    ends(&["-p", &port], 71, &message);
    ends(&["-d", "-p", &port], 71, &message);
}

/// A daemon that is killed when its test is over, whatever became of it.
struct Background(u32);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(self.0.try_into().expect("a pid")), Signal::SIGKILL);
    }
}

#[test]
fn a_daemon_serves_when_its_first_process_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (pidfile, ports) = (folder.path().join("pid"), folder.path().join("ports"));
    let status = Command::new(NUTHATCHD)
        .args(["-u", "root", "-d", "-p", "-1", "-P"])
        .arg(&pidfile)
        .env("MEMCACHED_PORT_FILENAME", &ports)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid: u32 = fs::read_to_string(&pidfile).unwrap().trim_end().parse().unwrap();
    let _background = Background(pid);
    let port = fs::read_to_string(&ports).unwrap();
    let port = port.trim_end().strip_prefix("TCP INET: ").unwrap().parse().unwrap();
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    assert_eq!(told_pid(&stream), u64::from(pid));
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(fs::read_link(format!("/proc/{pid}/fd/2")).unwrap(), Path::new("/dev/null"));

    signal(pid, Signal::SIGTERM);
    eventually("the pid file is removed", || !pidfile.exists());
}

#[test]
fn signals_end_the_server_well() {
    for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1] {
        let mut daemon = Daemon::builder(NUTHATCHD).start().unwrap();
        assert_eq!(told_pid(daemon.connect().unwrap()), u64::from(daemon.pid()));
        signal(daemon.pid(), how);
        let status = daemon.wait().unwrap().expect("it ends");
        assert!(status.success(), "{how}: {status}: {}", daemon.stderr());
        let is_graceful = how == Signal::SIGUSR1;
        assert_eq!(daemon.stderr().ends_with("Gracefully stopping\n"), is_graceful, "{how}");
        assert!(!daemon.stderr().contains("Exiting normally"), "only with -v");
    }
    for (command, last) in
        [("shutdown", "Exiting normally\n"), ("shutdown graceful", "Gracefully stopping\n")]
    {
        let mut daemon = Daemon::builder(NUTHATCHD).args(["-A", "-v"]).start().unwrap();
        assert_eq!(Client::of(&daemon).ask(command), "", "the connection ends");
        assert!(daemon.wait().unwrap().expect("it ends").success(), "{command}");
        assert!(daemon.stderr().ends_with(last), "{command}: {}", daemon.stderr());
    }
}

#[test]
fn sighup_does_not_end_the_server() {
    let daemon = Daemon::builder(NUTHATCHD).start().unwrap();
    assert_eq!(told_pid(daemon.connect().unwrap()), u64::from(daemon.pid()));
    signal(daemon.pid(), Signal::SIGHUP);
    assert_eq!(told_pid(daemon.connect().unwrap()), u64::from(daemon.pid()));
}

#[test]
fn a_unix_socket_has_the_mode_asked_for() {
    let daemon = Daemon::builder(NUTHATCHD).args(["-a", "660"]).unix().start().unwrap();
    let file = fs::metadata(daemon.socket_path().unwrap()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    assert_eq!(told_pid(daemon.connect().unwrap()), u64::from(daemon.pid()));
}

#[test]
fn a_client_above_the_limit_is_told_so() {
    let daemon = Daemon::builder(NUTHATCHD).args(["-c", "5"]).start().unwrap();
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = daemon.connect().unwrap();
        // Answered, so it is counted before the next one comes.
        client.write_all(b"mn\r\n").unwrap();
        let mut answer = [0; 4];
        match client.read_exact(&mut answer) {
            Ok(()) if &answer == b"MN\r\n" => clients.push(client),
            _ => break,
        }
    }
    let mut text = String::new();
    daemon.connect().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "ERROR Too many open connections\r\n");
    // When one leaves there is room again.
    clients.pop().expect("some were served");
    eventually("a client is served again", || {
        let mut client = daemon.connect().unwrap();
        let mut answer = [0; 4];
        client.write_all(b"mn\r\n").is_ok()
            && client.read_exact(&mut answer).is_ok()
            && &answer == b"MN\r\n"
    });
}
