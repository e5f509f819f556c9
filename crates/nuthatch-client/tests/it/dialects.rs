//! Every protocol, every command, against real servers: memcached, and nuthatchd where it has been
//! built. Logins too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use nuthatch_client::types::{Cas, Deleted, ItemFlags, Key, StoreMode, Stored, Ttl};
use nuthatch_client::{
    Builder, CallReport, Client, Credentials, Login, MetaCount, MetaCounted, MetaDelete, MetaGet,
    MetaSet, Observer, Protocol, Retry, sasl::Mechanism,
};
use nuthatch_testkit::{Daemon, find_program};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::LONG;
use crate::calls::{every_command, fifty_tasks, values_of_all_sizes};
use crate::cancel::drop_calls_at_random;

/// The servers that are here.
pub(crate) fn servers() -> Vec<PathBuf> {
    let own = nuthatchd();
    let servers: Vec<_> = find_program("memcached").into_iter().chain(own).collect();
    if servers.is_empty() {
        eprintln!("skipped: there is neither a memcached nor a nuthatchd");
    }
    servers
}

/// Ours, if it has been built beside this test.
pub(crate) fn nuthatchd() -> Option<PathBuf> {
    let mut path = std::env::current_exe().ok()?;
    path.pop();
    path.pop();
    path.push("nuthatchd");
    if !path.exists() {
        eprintln!("skipped: nuthatchd has not been built");
        return None;
    }
    Some(path)
}

pub(crate) fn patient() -> Builder {
    Client::builder().timeout(LONG).connect_timeout(LONG)
}

pub(crate) async fn client_of(daemon: &Daemon, builder: Builder) -> Client {
    builder.connect(&format!("127.0.0.1:{}", daemon.port().unwrap())).await.unwrap()
}

#[tokio::test]
async fn every_protocol_has_every_command() {
    for server in servers() {
        let daemon = Daemon::builder(&server).args(["-m", "256", "-I", "8m"]).start().unwrap();
        for protocol in [Protocol::Auto, Protocol::Meta, Protocol::Text, Protocol::Binary] {
            let client = client_of(&daemon, patient().protocol(protocol)).await;
            if protocol == Protocol::Binary {
                binary_commands(&client).await;
            } else {
                every_command(&client).await;
                client.verbosity(0).await.unwrap();
            }
            more_commands(&client, protocol).await;
            values_of_all_sizes(&client).await;
            fifty_tasks(&client, 10).await;
            client.flush_all().await.unwrap();
        }
    }
}

/// What the shared list has, as far as the binary protocol answers in other words.
async fn binary_commands(client: &Client) {
    assert_eq!(client.get("apple").await.unwrap(), None);
    assert_eq!(client.add("apple", "green", ItemOptions::flags(7)).await.unwrap(), Stored::Stored);
    assert_eq!(client.add("apple", "blue", Ttl::NEVER).await.unwrap(), Stored::NotStored);
    let item = client.get("apple").await.unwrap().unwrap();
    assert_eq!((&item.value[..], item.flags), (&b"green"[..], ItemFlags(7)));
    assert_eq!(client.append("apple", "!").await.unwrap(), Stored::Stored);
    assert_eq!(client.cas("apple", item.cas, "x", Ttl::NEVER).await.unwrap(), Stored::Exists);
    assert_eq!(client.cas("pear", item.cas, "x", Ttl::NEVER).await.unwrap(), Stored::NotFound);
    assert!(client.incr("apple", 1).await.unwrap_err().is_client_error());
    assert_eq!(client.incr("pear", 1).await.unwrap(), None);
    let many = client.get_many(["pear", "apple", "pear", "apple"]).await.unwrap();
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    assert!(client.touch("apple", Ttl::secs(60)).await.unwrap());
    assert!(!client.touch("pear", Ttl::secs(60)).await.unwrap());
    assert_eq!(client.delete("apple").await.unwrap(), Deleted::Deleted);
    assert_eq!(client.delete("apple").await.unwrap(), Deleted::NotFound);
    assert!(client.stats().await.unwrap().get("curr_items").is_some());
    assert!(!client.version().await.unwrap().is_empty());
    assert!(client.verbosity(0).await.unwrap_err().is_unsupported());
}

struct ItemOptions;

impl ItemOptions {
    fn flags(flags: u32) -> nuthatch_client::StoreOptions {
        nuthatch_client::StoreOptions::new().flags(ItemFlags(flags))
    }
}

async fn more_commands(client: &Client, protocol: Protocol) {
    // Counting from nothing, also where the protocol has no such command.
    assert_eq!(client.incr_from("n", 5, 10, Ttl::secs(100)).await.unwrap(), 10);
    assert_eq!(client.incr_from("n", 5, 10, Ttl::secs(100)).await.unwrap(), 15);
    assert_eq!(client.decr_from("n", 20, 10, Ttl::secs(100)).await.unwrap(), 0);

    client.set("a", "1", Ttl::NEVER).await.unwrap();
    assert_eq!(client.gat("a", Ttl::secs(60)).await.unwrap().unwrap().value, "1");
    assert_eq!(client.gat("none", Ttl::secs(60)).await.unwrap(), None);
    let cas = client.get("a").await.unwrap().unwrap().cas;
    let wrong = client.delete_cas("a", Cas(cas.0 + 1)).await;
    if protocol == Protocol::Text {
        assert!(wrong.unwrap_err().is_unsupported());
    } else {
        assert_eq!(wrong.unwrap(), Deleted::Exists);
        assert_eq!(client.delete_cas("a", cas).await.unwrap(), Deleted::Deleted);
    }

    let items = (0..100).map(|n| (format!("many:{n}"), format!("value {n}")));
    let stored = client.set_many(items, Ttl::secs(60)).await;
    assert!(stored.iter().all(|stored| matches!(stored, Ok(Stored::Stored))));
    let each = client.get_each(["many:7", "not good", "many:99", "none"]).await;
    assert_eq!(each[0].as_ref().unwrap().as_ref().unwrap().value, "value 7");
    assert!(each[1].as_ref().unwrap_err().is_key());
    assert_eq!(each[2].as_ref().unwrap().as_ref().unwrap().value, "value 99");
    assert!(each[3].as_ref().unwrap().is_none());
    let each = client.gat_each(["many:7", "none"], Ttl::secs(60)).await;
    assert!(each[0].as_ref().unwrap().is_some() && each[1].as_ref().unwrap().is_none());
    let deleted = client.delete_many(["many:7", "none", "not good"]).await;
    assert_eq!(deleted[0].as_ref().unwrap(), &Deleted::Deleted);
    assert_eq!(deleted[1].as_ref().unwrap(), &Deleted::NotFound);
    assert!(deleted[2].as_ref().unwrap_err().is_key());
    let set = client.set_many([("good", "1"), ("not good", "2")], Ttl::NEVER).await;
    assert!(set[0].is_ok() && set[1].as_ref().unwrap_err().is_key());

    if matches!(protocol, Protocol::Text | Protocol::Binary) {
        assert!(client.meta_get("a", MetaGet::new()).await.unwrap_err().is_unsupported());
        assert!(client.meta_debug("a").await.unwrap_err().is_unsupported());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_dropped_at_random_confuse_nobody_in_any_protocol() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        for protocol in [Protocol::Meta, Protocol::Text, Protocol::Binary] {
            let builder = patient().protocol(protocol).connections_per_node(2);
            let client = client_of(&daemon, builder).await;
            let mut events = client.events();
            drop_calls_at_random(&client).await;
            let event = events.try_recv();
            assert!(event.is_err(), "no connection was lost: {protocol:?} {event:?}");
        }
    }
}

/// Counts what it is told of.
#[derive(Clone, Default)]
struct Tally(Arc<parking_lot::Mutex<Vec<String>>>);

impl Observer for Tally {
    fn call(&self, call: &CallReport<'_>) {
        let node = call.node.is_some();
        let error = call.error.map(nuthatch_client::Error::name);
        self.0.lock().push(format!("{} {node} {error:?}", call.operation));
    }
}

#[tokio::test]
async fn every_call_is_told_of() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        let tally = Tally::default();
        let client = client_of(&daemon, patient().observer(tally.clone())).await;
        client.set("a", "x", Ttl::NEVER).await.unwrap();
        client.get("a").await.unwrap();
        assert!(client.incr("a", 1).await.is_err());
        client.get_many(["a", "b"]).await.unwrap();
        client.meta_get("a", MetaGet::new()).await.unwrap();
        client.version().await.unwrap();
        let told = tally.0.lock().clone();
        let expected = ["set true None", "get true None", "incr true Some(\"client_error\")"];
        assert_eq!(told[..3], expected);
        assert_eq!(told[3..], ["get_many true None", "mg true None", "version true None"]);
    }
}

#[tokio::test]
async fn leases_are_won_by_one() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        let client = client_of(&daemon, patient()).await;
        let lease = MetaGet::new().value().cas().vivify(Ttl::secs(30));
        let first = client.meta_get("page", lease).await.unwrap().unwrap();
        let second = client.meta_get("page", lease).await.unwrap().unwrap();
        assert!(first.is_won && !first.is_being_made);
        assert!(!second.is_won && second.is_being_made);
        assert_eq!(first.value.as_deref(), Some(&b""[..]));
        let cas = first.cas.unwrap();
        let store = MetaSet::new().ttl(Ttl::secs(100)).flags(ItemFlags(9)).compare(cas);
        let stored = client.meta_set("page", "made", store.return_cas()).await.unwrap();
        assert_eq!(stored.outcome, Stored::Stored);
        let late = client.meta_set("page", "late", store).await.unwrap();
        assert_eq!(late.outcome, Stored::Exists);

        let all = MetaGet::new().value().flags().cas().size().ttl().use_facts();
        let item = client.meta_get("page", all).await.unwrap().unwrap();
        assert_eq!(item.value.as_deref(), Some(&b"made"[..]));
        assert_eq!((item.flags, item.size, item.cas), (Some(ItemFlags(9)), Some(4), stored.cas));
        assert!(matches!(item.ttl, Some(ttl) if ttl == Ttl::secs(100) || ttl == Ttl::secs(99)));
        assert!(item.is_hit_before.is_some() && item.last_access_secs.is_some());

        // Stale, and one is to make it anew.
        let stale = MetaDelete::new().invalidate(Ttl::secs(30));
        assert_eq!(client.meta_delete("page", stale).await.unwrap(), Deleted::Deleted);
        let won = client.meta_get("page", MetaGet::new().value()).await.unwrap().unwrap();
        let told = client.meta_get("page", MetaGet::new().value()).await.unwrap().unwrap();
        assert!(won.is_stale && won.is_won && told.is_stale && told.is_being_made && !told.is_won);

        let count = MetaCount::incr(2).initial(40, Ttl::secs(60)).facts();
        let counted = client.meta_count("n", count).await.unwrap();
        assert!(matches!(counted, MetaCounted::Number { number: 40, .. }), "{counted:?}");
        let counted = client.meta_count("n", count).await.unwrap();
        let MetaCounted::Number { number: 42, item } = counted else { panic!("{counted:?}") };
        assert!(item.ttl.is_some() && item.cas.is_some());
        let none = client.meta_count("none", MetaCount::decr(1)).await.unwrap();
        assert_eq!(none, MetaCounted::NotFound);
        let append = MetaSet::new().mode(StoreMode::Append).vivify(Ttl::secs(60));
        let made = client.meta_set("log", "a", append).await.unwrap().outcome;
        if client.version().await.unwrap() == "1.6.18" {
            // Debian's makes no item there.
            assert_eq!(made, Stored::NotStored);
            client.set("log", "a", Ttl::NEVER).await.unwrap();
        } else {
            assert_eq!(made, Stored::Stored);
        }
        assert_eq!(client.meta_set("log", "b", append).await.unwrap().outcome, Stored::Stored);
        assert_eq!(client.get("log").await.unwrap().unwrap().value, "ab");
        assert!(client.meta_debug("log").await.unwrap().unwrap().contains("size="));
        assert_eq!(client.meta_debug("none").await.unwrap(), None);
        assert_eq!(client.meta_get("none", MetaGet::new()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn keys_of_any_bytes_go_where_they_can() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        for protocol in [Protocol::Meta, Protocol::Binary] {
            let client = client_of(&daemon, patient().protocol(protocol).any_keys()).await;
            let odd = [&b"a b"[..], b"line\r\nflush_all\r\n", b"\0\xff", b"plain"];
            for key in odd {
                client.set(key, key.to_vec(), Ttl::NEVER).await.unwrap();
            }
            let many = client.get_many(odd.iter().chain([&&b"no ne"[..]])).await.unwrap();
            for (key, item) in odd.iter().zip(&many) {
                assert_eq!(&item.as_ref().unwrap().value, key);
                assert_eq!(&client.get(key).await.unwrap().unwrap().value, key);
                assert_eq!(client.delete(key).await.unwrap(), Deleted::Deleted);
            }
            assert_eq!(many[4], None);
        }
        let text = client_of(&daemon, patient().protocol(Protocol::Text).any_keys()).await;
        let error = text.get("a b").await.unwrap_err();
        assert!(error.is_key() && error.is_unsent());
        assert!(text.get(Key::new("plain").unwrap()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn logins_by_text_are_done_where_they_are_asked_for() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, "sammy:S3cretPw\n").unwrap();
        let args = ["-Y", users.to_str().unwrap()];
        let daemon = Daemon::builder(&server).args(args).start().unwrap();
        for protocol in [Protocol::Auto, Protocol::Meta, Protocol::Text] {
            let login = Credentials::new("sammy", "S3cretPw");
            let client = client_of(&daemon, patient().protocol(protocol).login(login)).await;
            client.set("a", "1", Ttl::NEVER).await.unwrap();
            assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");

            let address = format!("127.0.0.1:{}", daemon.port().unwrap());
            let wrong = patient().protocol(protocol).login(Credentials::new("sammy", "guess"));
            let error = wrong.connect(&address).await.unwrap_err();
            assert!(error.is_login() && error.is_connect(), "{error}");
            assert!(!error.to_string().contains("guess"));
        }
        let address = format!("127.0.0.1:{}", daemon.port().unwrap());
        let error = patient().connect(&address).await.unwrap_err();
        assert!(error.is_login(), "{error}");
        let url = format!("memcached://sammy:S3cretPw@{address}/?timeout=20s&connect_timeout=20s");
        let client = Client::connect(&url).await.unwrap();
        assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
    }
}

#[tokio::test]
async fn a_client_logs_in_again_when_its_server_comes_back() {
    for server in servers() {
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users");
        std::fs::write(&users, "sammy:old\n").unwrap();
        let start = |port: &str| {
            let args = ["-Y", users.to_str().unwrap(), "-p", port];
            Daemon::builder(&server).args(args).start().unwrap()
        };
        let daemon = start("-1");
        // The password changes while the server is away.
        let file = users.clone();
        let login = Login::provider(move || {
            let text = std::fs::read_to_string(&file);
            async move {
                let text = text?;
                let (user, password) = text.trim().split_once(':').ok_or("no user")?;
                Ok(Credentials::new(user, password))
            }
        });
        let client = client_of(&daemon, patient().login(login)).await;
        client.set("a", "1", Ttl::NEVER).await.unwrap();
        let port = daemon.port().unwrap().to_string();
        drop(daemon);
        assert!(client.get("a").await.is_err());
        std::fs::write(&users, "sammy:new\n").unwrap();
        let _daemon = start(&port);
        let again = async {
            while client.get("a").await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, again).await.expect("it comes back");
        assert_eq!(client.set("a", "2", Ttl::NEVER).await.unwrap(), Stored::Stored);
    }
}

#[tokio::test]
async fn a_server_without_logins_is_not_told_the_password() {
    for server in servers() {
        let daemon = Daemon::builder(&server).start().unwrap();
        let client = client_of(&daemon, patient().login(Credentials::new("me", "secret"))).await;
        assert_eq!(client.get("auth").await.unwrap(), None);
    }
}

#[tokio::test]
async fn logins_by_sasl_are_found_out_and_done_again() {
    let Some(server) = nuthatchd() else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("memcached.conf");
    std::fs::write(&config, "mech_list: plain scram-sha-256\n").unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, "sammy@example.org:S3cretPw\n").unwrap();
    let daemon = Daemon::builder(&server)
        .args(["-S"])
        .env("SASL_CONF_PATH", folder.path())
        .env("MEMCACHED_SASL_PWDB", &users)
        .start()
        .unwrap();
    let address = format!("127.0.0.1:{}", daemon.port().unwrap());
    let n_asked = Arc::new(AtomicU32::new(0));
    let login = Login::provider({
        let n_asked = Arc::clone(&n_asked);
        move || {
            n_asked.fetch_add(1, Relaxed);
            async { Ok(Credentials::new("sammy@example.org", "S3cretPw")) }
        }
    });
    for (protocol, mechanism) in [
        (Protocol::Auto, &b"PLAIN"[..]),
        (Protocol::Binary, b"PLAIN"),
        (Protocol::Binary, b"SCRAM-SHA-256"),
    ] {
        let login = login.clone().mechanisms(vec![Mechanism::parse(mechanism).unwrap()]);
        let builder = patient().protocol(protocol).login(login).connections_per_node(2);
        let client = builder.connect(&address).await.unwrap();
        client.set("a", "1", Ttl::NEVER).await.unwrap();
        assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
    }
    assert!(n_asked.load(Relaxed) >= 4);
    let wrong = patient().login(Credentials::new("sammy", "guess"));
    let error = wrong.connect(&address).await.unwrap_err();
    assert!(error.is_login() && !error.to_string().contains("guess"), "{error}");
    let error = patient().protocol(Protocol::Binary).retry(Retry::NEVER).connect(&address).await;
    // Without a greeting it is the first call that hears of it.
    if let Ok(client) = error {
        let error = client.get("a").await.unwrap_err();
        assert!(error.is_client_error() || error.is_server_error(), "{error}");
    }
}

/// As twemproxy does, which tells its version and hangs up on all that it does not know.
#[tokio::test]
async fn who_hangs_up_on_meta_commands_is_spoken_to_in_classic_text() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let n_hung_up = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&n_hung_up);
    let proxy = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 {
                let answer = match line.trim_end().split(' ').next().unwrap() {
                    "version" => "VERSION 1.6.45\r\n",
                    "get" | "gets" => "END\r\n",
                    _ => break,
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
                line.clear();
            }
            counted.fetch_add(u32::from(line.starts_with('m')), Relaxed);
        }
    });
    let client = Client::builder().timeout(LONG).connect(&address).await.unwrap();
    assert!(client.get("key").await.unwrap().is_none());
    // What it speaks is known from then on.
    assert_eq!(n_hung_up.load(Relaxed), 1);
    proxy.abort();
}
