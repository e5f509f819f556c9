//! Values that other clients write, and what they make of ours, at a real server.

use std::path::{Path, PathBuf};
use std::process::Command;

use nuthatch_client::types::Ttl;
use nuthatch_client::values::Codec;
use nuthatch_client::values::foreign::{Dalli, Foreign, Php, Python, Serializer};
use nuthatch_client::{Client, Typed};
use nuthatch_testkit::{Daemon, find_program};

use crate::LONG;

/// Stores our values, runs a script that reads them and stores its own, and reads those; `None`,
/// and a word about it, where something is not installed.
async fn meet<C: Codec<Value = Foreign>>(
    (interpreter, script, client): (&str, &str, Option<&str>),
    codec: C,
    ours: &[(&str, Foreign)],
) -> Option<(Daemon, Typed<C>)> {
    let server = std::env::var_os("NUTHATCHD").map(PathBuf::from);
    let Some(server) = server.or_else(|| find_program("memcached")) else {
        eprintln!("skipped: no memcached is installed");
        return None;
    };
    let Some(interpreter) = find_program(interpreter) else {
        eprintln!("skipped: no {interpreter} is installed");
        return None;
    };
    let daemon = Daemon::builder(server).start().unwrap();
    let port = daemon.port().unwrap().to_string();
    let address = format!("127.0.0.1:{port}");
    let cache = Client::builder().timeout(LONG).connect(&address).await.unwrap();
    let cache = cache.typed(codec).ttl(Ttl::secs(600));
    for (key, value) in ours {
        cache.set(key, value).await.unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script);
    let mut command = Command::new(interpreter);
    let run = command.arg(&script).args(client).arg(port).output().unwrap();
    if run.status.code() == Some(77) {
        eprintln!("skipped: the client of {} is not installed", script.display());
        return None;
    }
    assert!(run.status.success(), "{} {client:?}: {run:?}", script.display());
    Some((daemon, cache))
}

async fn read<C: Codec<Value = Foreign>>(cache: &Typed<C>, key: &str) -> Foreign {
    cache.get(key).await.unwrap_or_else(|error| panic!("{key}: {error}")).unwrap()
}

fn text() -> Foreign {
    Foreign::from("h\u{e9}")
}

fn bytes(data: impl AsRef<[u8]>) -> Foreign {
    Foreign::Bytes(data.as_ref().to_vec().into())
}

#[tokio::test]
async fn values_of_python() {
    for client in ["pylibmc", "pymemcache"] {
        let ours = [
            ("our_text", text()),
            ("our_number", Foreign::Integer(-7)),
            ("our_bytes", bytes([0, 255])),
        ];
        let script = ("python3", "values.py", Some(client));
        let Some((_daemon, cache)) = meet(script, Python::new(), &ours).await else { continue };
        assert_eq!(read(&cache, "text").await, text(), "{client}");
        assert_eq!(read(&cache, "number").await, Foreign::Integer(-7), "{client}");
        assert_eq!(read(&cache, "bytes").await, bytes([0, 255]), "{client}");
        assert_eq!(
            read(&cache, "big").await,
            Foreign::from(&*"nuthatch ".repeat(1000)),
            "{client}"
        );
        let list = read(&cache, "list").await;
        assert!(matches!(list, Foreign::Serialized(Serializer::Pickle, _)), "{client}: {list:?}");
    }
}

#[tokio::test]
async fn values_of_php() {
    for packing in ["fastlz", "zlib"] {
        let ours = [
            ("our_text", text()),
            ("our_number", Foreign::Integer(-7)),
            ("our_float", Foreign::Float(0.1)),
            ("our_truth", Foreign::Bool(true)),
        ];
        let script = ("php", "values.php", Some(packing));
        let Some((_daemon, cache)) = meet(script, Php::new(), &ours).await else { continue };
        assert_eq!(read(&cache, "text").await, bytes("h\u{e9}"));
        assert_eq!(read(&cache, "number").await, Foreign::Integer(-7));
        assert_eq!(read(&cache, "float").await, Foreign::Float(1.5e25));
        assert_eq!(read(&cache, "truth").await, Foreign::Bool(true));
        assert_eq!(read(&cache, "lie").await, Foreign::Bool(false));
        assert_eq!(read(&cache, "big").await, bytes("nuthatch ".repeat(1000)));
        let noise: String = (0..3000).map(|i| format!("{i}:{} ", i * 7919 % 1000)).collect();
        assert_eq!(read(&cache, "noise").await, bytes(noise));
        let list = Foreign::Serialized(Serializer::Php, "a:1:{i:0;i:1;}".into());
        assert_eq!(read(&cache, "list").await, list);
        // They were packed, so unpacking was tested.
        assert!(cache.cache().get("noise").await.unwrap().unwrap().flags.0 >= 0x10);
    }
}

#[tokio::test]
async fn values_of_ruby() {
    let ours = [
        ("our_text", text()),
        ("our_number", Foreign::Integer(-7)),
        ("our_huge", Foreign::Integer(1 << 40)),
        ("our_truth", Foreign::Bool(true)),
    ];
    let script = ("ruby", "values.rb", None);
    let Some((_daemon, cache)) = meet(script, Dalli::new(), &ours).await else { return };
    assert_eq!(read(&cache, "text").await, text());
    assert_eq!(read(&cache, "number").await, Foreign::Integer(-7));
    assert_eq!(read(&cache, "huge").await, Foreign::Integer(1 << 40));
    assert_eq!(read(&cache, "truth").await, Foreign::Bool(true));
    assert_eq!(read(&cache, "nothing").await, Foreign::Null);
    assert_eq!(read(&cache, "big").await, Foreign::from(&*"nuthatch ".repeat(1000)));
    assert_eq!(read(&cache, "raw").await, bytes("x"));
    let list = read(&cache, "list").await;
    assert!(matches!(list, Foreign::Serialized(Serializer::Marshal, _)), "{list:?}");
}
