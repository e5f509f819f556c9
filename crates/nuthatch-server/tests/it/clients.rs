//! Clients that others wrote, unchanged. Each test runs where its client is installed and says so
//! where it is not.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use nuthatch_testkit::{Daemon, find_program};

use crate::support::{Client, NUTHATCHD, address, find_python, skip, start};

/// What a script exits with whose module is not installed.
const NOT_INSTALLED: i32 = 77;

/// A program that ended well, and what it printed.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}", all_of(&output));
    stdout
}

fn all_of(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a Python script with these arguments; it asserts for itself.
#[track_caller]
fn python(module: &str, script: &str, args: &[&str]) {
    let Some(python) = find_python() else { return skip("there is no python3") };
    let prelude = format!(
        "import sys\ntry:\n    import {module}\nexcept ImportError:\n    sys.exit({NOT_INSTALLED})\n"
    );
    let output = Command::new(python)
        .arg("-c")
        .arg(prelude + script)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    match output.status.code() {
        Some(NOT_INSTALLED) => skip(&format!("there is no Python module {module}")),
        Some(0) => eprint!("{module}: {}", String::from_utf8_lossy(&output.stdout)),
        _ => panic!("{module}: {}", all_of(&output)),
    }
}

const PYMEMCACHE: &str = r#"
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheServerError, MemcacheClientError, MemcacheIllegalInputError

where = sys.argv[1] if sys.argv[1].startswith("/") else ("127.0.0.1", int(sys.argv[1]))
for make in (Client, PooledClient, lambda w, **k: HashClient([w], **k)):
    for quiet in (False, True):
        c = make(where, default_noreply=quiet, timeout=10, connect_timeout=10)
        c.flush_all(noreply=False)
        assert c.set("a", b"one") and c.get("a") == b"one"
        assert c.get("none") is None and c.get("none", "default") == "default"
        assert c.add("a", b"x", noreply=False) is False
        assert c.add("b", b"two", noreply=False) is True
        assert c.replace("none", b"x", noreply=False) is False
        assert c.replace("b", b"2", noreply=False) is True
        c.append("a", b"+"); c.prepend("a", b"-")
        assert c.get("a") == b"-one+"
        value, cas = c.gets("a")
        assert c.cas("a", b"three", cas, noreply=False) is True
        assert c.cas("a", b"four", cas, noreply=False) is False
        assert c.cas("none", b"four", cas, noreply=False) is None
        c.set("n", b"10")
        assert c.incr("n", 5) == 15 and c.decr("n", 20) == 0 and c.incr("none", 1) is None
        assert c.touch("n", 100, noreply=False) is True
        assert c.touch("none", 100, noreply=False) is False
        if hasattr(c, "gat"):
            assert c.gat("n", 100) == b"0" and c.gats("n", 100)[0] == b"0"
        assert c.set_many({f"m{i}": str(i).encode() for i in range(500)}) == []
        got = c.get_many([f"m{i}" for i in range(600)])
        assert len(got) == 500 and got["m499"] == b"499"
        assert set(c.gets_many(["m1", "m2", "x"])) == {"m1", "m2"}
        c.delete_many([f"m{i}" for i in range(500)])
        assert c.get_many([f"m{i}" for i in range(500)]) == {}
        assert c.delete("n", noreply=False) is True
        assert c.delete("n", noreply=False) is False
        large = bytes(range(256)) * 3900
        c.set("large", large)
        assert c.get("large") == large
        try:
            c.set("large", b"x" * (1 << 20), noreply=False)
            assert False, "a MiB does not fit"
        except MemcacheServerError as error:
            assert b"too large" in error.args[0] or "too large" in str(error)
        c.set("gone", b"x", expire=-1)
        assert c.get("gone") is None
        try:
            c.get("k" * 251)
            assert False, "the client refuses it"
        except MemcacheIllegalInputError:
            pass
        if make is Client:
            c.set("s", b"x", noreply=False)
            stats = c.stats()
            assert stats[b"curr_items"] == 3, stats
            assert stats[b"limit_maxbytes"] == 64 << 20
            assert c.stats("settings")[b"maxconns"] == 1024
            assert c.version() == b"1.6.45"
            if hasattr(c, "raw_command"):
                assert c.raw_command("mn", b"\r\n") == b"MN"
                assert c.raw_command("mg s s v", b"\r\nx\r\n") == b"VA 1 s1"
        c.close()
print(pymemcache.__version__, "client, pooled, hashed, with and without noreply")
"#;

#[test]
fn pymemcache_works() {
    let daemon = start([""; 0]);
    python("pymemcache", PYMEMCACHE, &[&daemon.port().unwrap().to_string()]);
    let daemon = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    python("pymemcache", PYMEMCACHE, &[daemon.socket_path().unwrap().to_str().unwrap()]);
}

const PYLIBMC: &str = r#"
import threading
where = sys.argv[1] if sys.argv[1].startswith("/") else "127.0.0.1:" + sys.argv[1]
binary = sys.argv[2] == "binary"

# In the binary protocol some failures are exceptions.
def fails(call, *args):
    try:
        return not call(*args)
    except (pylibmc.NotFound, pylibmc.Error) as error:
        assert binary, error
        return True

for behaviors in ({}, {"tcp_nodelay": True, "ketama": True}, {"no_block": True, "buffer_requests": False},
                  {"cas": True} if binary else {"cas": True, "verify_keys": True}):
    c = pylibmc.Client([where], binary=binary, behaviors=behaviors)
    assert c.flush_all()
    assert c.set("a", "one") and c.get("a") == "one" and c.get("none") is None
    assert c.set("o", {"some": ["python", 1, None]}) and c["o"] == {"some": ["python", 1, None]}
    assert fails(c.add, "a", "x") and c.add("b", "two")
    assert fails(c.replace, "none", "x") and c.replace("b", "2")
    assert c.set("s", b"b") and c.append("s", b"c") and c.prepend("s", b"a") and c.get("s") == b"abc"
    assert c.set("n", 10) and c.incr("n", 5) == 15 and c.decr("n", 20) == 0
    try:
        c.incr("none")
        assert False
    except pylibmc.NotFound:
        pass
    assert c.set_multi({f"m{i}": i for i in range(500)}) == []
    got = c.get_multi([f"m{i}" for i in range(600)])
    assert len(got) == 500 and got["m499"] == 499
    assert c.delete_multi([f"m{i}" for i in range(500)])
    assert c.get_multi([f"m{i}" for i in range(500)]) == {}
    assert c.delete("b") and fails(c.delete, "b")
    if not binary:  # libmemcached 1.0.16 never finds the end of the answer, memcached's neither
        assert c.touch("a", 100) and fails(c.touch, "none", 100)
    large = bytes(range(256)) * 3900
    assert c.set("large", large) and c.get("large") == large
    assert c.set("packed", large, min_compress_len=1000) and c.get("packed") == large
    try:
        c.set("large", b"x" * (1 << 20))
        assert False, "a MiB does not fit"
    except (pylibmc.TooBig, pylibmc.ServerError, pylibmc.Error):
        pass
    assert c.get("a") == "one", "in step after the refusal"
    if behaviors.get("cas"):
        value, cas = c.gets("a")
        assert c.cas("a", "2", cas) and fails(c.cas, "a", "3", cas)
    # A client of its own: after errors, 1.0.16 waits in the binary protocol for more, whoever serves.
    [(name, stats)] = pylibmc.Client([where], binary=binary).get_stats()
    assert int(stats["curr_items"]) > 0, stats
c = pylibmc.Client([where], binary=binary)
pool = pylibmc.ThreadMappedPool(c)
def work(number):
    with pool.reserve() as mine:
        for i in range(200):
            assert mine.set(f"t{number}-{i}", i) and mine.get(f"t{number}-{i}") == i
    pool.relinquish()
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert all(c.get(f"t{n}-199") == 199 for n in range(8))
print(pylibmc.__version__, "on libmemcached", pylibmc.libmemcached_version, sys.argv[2])
"#;

#[test]
fn pylibmc_works() {
    let tcp = start([""; 0]);
    let unix = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    for protocol in ["text", "binary"] {
        python("pylibmc", PYLIBMC, &[&tcp.port().unwrap().to_string(), protocol]);
        python("pylibmc", PYLIBMC, &[unix.socket_path().unwrap().to_str().unwrap(), protocol]);
    }
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
