//! Clients that others wrote, unchanged. Each test runs where its client is installed and says so
//! where it is not.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use nuthatch_testkit::{Daemon, find_program};

use crate::guests::{all_of, guest};
use crate::support::{Client, NUTHATCHD, address, skip, start};

/// A program that ended well, and what it printed.
#[track_caller]
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}", all_of(&output));
    stdout
}

#[test]
fn pymemcache_works() {
    let daemon = start([""; 0]);
    guest("use_pymemcache.py").run(&daemon);
    let daemon = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    guest("use_pymemcache.py").run(&daemon);
}

#[test]
fn pylibmc_works() {
    let tcp = start([""; 0]);
    let unix = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    for daemon in [&tcp, &unix] {
        guest("use_pylibmc.py").run(daemon);
        guest("use_pylibmc.py").binary().run(daemon);
    }
}

/// Clients of other languages, in the clear.
#[test]
fn clients_of_other_languages_work() {
    for script in [
        "use_aiomcache.py",
        "use_bmemcached.py",
        "use_dalli.rb",
        "use_emcache.py",
        "use_memcached.js",
        "use_memcached.php",
        "use_memjs.js",
        "UseSpymemcached.java",
    ] {
        guest(script).run(&start([""; 0]));
    }
    guest("use_memcached.php").binary().run(&start([""; 0]));
}

/// The commands of libmemcached-tools, as the tutorials type them.
#[test]
fn libmemcached_s_tools_work() {
    let Some(memcstat) = find_program("memcstat") else {
        return skip("libmemcached-tools are not installed");
    };
    let unix = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    let tcp = start([""; 0]);
    let port = tcp.port().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("greeting");
    fs::write(&file, "hello from a file\n").unwrap();
    for servers in [
        format!("--servers=127.0.0.1:{port}"),
        format!("--servers={}", unix.socket_path().unwrap().display()),
    ] {
        use_tools(&memcstat, &servers, &file, &[]);
        use_tools(&memcstat, &servers, &file, &["--binary"]);
        printed(Command::new(memcstat.with_file_name("memcping")).arg(&servers));
    }
    let host = format!("Server: 127.0.0.1 ({port})\n");
    let stats = printed(Command::new(&memcstat).arg(format!("--servers=127.0.0.1:{port}")));
    assert!(stats.starts_with(&host), "{stats}");

    let output = Command::new(memcstat.with_file_name("memccapable"))
        .args(["-a", "-h", "127.0.0.1", "-p", &port.to_string()])
        .output()
        .unwrap();
    // It expects `delete key 0` to be refused, which memcached 1.6.45 does not either.
    let text = all_of(&output);
    assert_eq!(text.matches("[pass]").count(), 25, "{text}");
    assert!(text.contains("2 of 27 tests failed"), "{text}");

    let output = Command::new(memcstat.with_file_name("memccapable"))
        .args(["-b", "-h", "127.0.0.1", "-p", &port.to_string()])
        .output()
        .unwrap();
    let text = all_of(&output);
    assert_eq!(text.matches("[pass]").count(), 27, "{text}");
    assert!(text.contains("All tests passed"), "{text}");
}

/// Stores a file, and so on, with each of libmemcached's tools.
#[track_caller]
fn use_tools(memcstat: &Path, servers: &str, file: &Path, protocol: &[&str]) {
    let tool = |name: &str| {
        let mut command = Command::new(memcstat.with_file_name(name));
        command.arg(servers).args(protocol);
        command
    };
    printed(tool("memccp").arg(file));
    assert_eq!(printed(tool("memccat").arg("greeting")).trim_end(), "hello from a file");
    printed(tool("memcexist").arg("greeting"));
    printed(tool("memctouch").args(["--expire=100", "greeting"]));
    let stats = printed(&mut tool("memcstat"));
    assert!(stats.contains("\tcurr_items: ") && stats.contains("version: "), "{stats}");
    printed(tool("memcrm").arg("greeting"));
    for gone in ["memccat", "memcexist", "memcrm"] {
        let output = tool(gone).arg("greeting").output().unwrap();
        assert!(!output.status.success(), "{gone}: {}", all_of(&output));
    }
    printed(tool("memccp").arg(file));
    printed(&mut tool("memcflush"));
    assert!(!tool("memcexist").arg("greeting").output().unwrap().status.success());
    printed(tool("memcslap").args(["--concurrency=4", "--execute-number=200"]));
    printed(&mut tool("memcflush"));
}

/// Upstream's own script, where somebody says where it is.
#[test]
fn memcached_tool_works() {
    let Some(script) = env::var_os("NUTHATCH_MEMCACHED_TOOL") else {
        return skip("NUTHATCH_MEMCACHED_TOOL does not say where the script is");
    };
    let perl = Command::new("perl").args(["-MURI::Escape", "-e", "1"]).output();
    if !perl.is_ok_and(|output| output.status.success()) {
        return skip("there is no perl with URI::Escape");
    }
    let daemon = start([""; 0]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    let tool = |mode: &str| {
        let at = address(&daemon).to_string();
        printed(Command::new("perl").args([&script, OsStr::new(&at), OsStr::new(mode)]))
    };
    let classes = tool("display");
    assert!(classes.contains("Item_Size") && classes.lines().count() == 2, "{classes}");
    let stats = tool("stats");
    assert!(stats.contains("curr_items") && stats.contains("1.6.45"), "{stats}");
    assert!(tool("settings").contains("maxconns"));
    eprintln!("{classes}");
}

/// By hand: what people type into `nc`.
#[test]
fn nc_works() {
    let Some(nc) = find_program("nc") else { return skip("there is no nc") };
    let daemon = start([""; 0]);
    let mut nc = Command::new(nc)
        .args(["-w", "5", "127.0.0.1", &daemon.port().unwrap().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = nc.stdin.take().unwrap();
    // A terminal ends lines without a carriage return.
    stdin.write_all(b"set a 0 0 5\r\nhello\r\nget a\nversion\nquit\n").unwrap();
    drop(stdin);
    let output = nc.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\nVERSION 1.6.45\r\n"
    );
}
