//! URLs to their ends: lists of nodes from real services, with what is said about how to ask them.

use std::process::Command;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, tls::ClientTls};
use nuthatch_testkit::{Daemon, Dns, Etcd, find_program};

use crate::LONG;
use crate::dialects::nuthatchd;
use crate::secure::{Pair, set_list};

/// For calls that must not run into their time limits.
const PATIENT: &str = "connect_timeout=20s&timeout=20s";

fn names(client: &Client) -> Vec<String> {
    client.nodes().iter().map(|node| node.name().to_owned()).collect()
}

/// Waits until the client has these nodes.
async fn listed(client: &Client, expected: &[String]) {
    let is_so = async {
        while names(client) != expected {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let listed = tokio::time::timeout(LONG, is_so).await;
    assert!(listed.is_ok(), "{expected:?} and not {:?}", names(client));
}

/// Sets and gets some keys, whichever nodes they are on.
async fn is_used(client: &Client) {
    for n in 0..20 {
        let key = format!("key:{n}");
        client.set(&key, key.clone(), Ttl::NEVER).await.unwrap();
        assert_eq!(client.get(&key).await.unwrap().unwrap().value, key);
    }
}

#[tokio::test]
async fn addresses_of_a_name_are_followed() {
    let Some(server) = nuthatchd() else { return };
    let Some(mut dns) = Dns::start(&["--host-record=cache.test,127.0.0.1"]).unwrap() else {
        return eprintln!("skipped: there is no dnsmasq");
    };
    let daemon = Daemon::builder(&server).start().unwrap();
    let port = daemon.port().unwrap();
    let url = format!(
        "memcached+dns://cache.test:{port}/?discovery_dns=127.0.0.1:{}&{PATIENT}",
        dns.port()
    );
    let client = Client::connect(&url).await.unwrap();
    assert_eq!(names(&client), [format!("127.0.0.1:{port}")]);
    is_used(&client).await;
    // Nobody need be there for the list to have it.
    dns.tell(&["--host-record=cache.test,127.0.0.1", "--host-record=cache.test,127.0.0.2"])
        .unwrap();
    listed(&client, &[1, 2].map(|n| format!("127.0.0.{n}:{port}"))).await;
}

#[tokio::test]
async fn services_of_a_name_are_followed_over_tls() {
    let Some(server) = nuthatchd() else { return };
    let pair = Pair::new(&["a.cache.test", "b.cache.test"]);
    let [a, b, c] = [(); 3].map(|()| pair.start(&server, ""));
    let srv = |name: &str, daemon: &Daemon| {
        let port = daemon.port().unwrap();
        format!("--srv-host=_memcached._tcp.cache.test,{name}.cache.test,{port},0,1")
    };
    let name =
        |name: &str, daemon: &Daemon| format!("{name}.cache.test:{}", daemon.port().unwrap());
    let hosts = ["a", "b", "c"].map(|name| format!("--host-record={name}.cache.test,127.0.0.1"));
    let records = |services: [String; 2]| [services.to_vec(), hosts.to_vec()].concat();
    let told = records([srv("a", &a), srv("b", &b)]);
    let told: Vec<_> = told.iter().map(String::as_str).collect();
    let Some(mut dns) = Dns::start(&told).unwrap() else {
        return eprintln!("skipped: there is no dnsmasq");
    };
    let url = |settings: &str| {
        let (dns, ca) = (dns.port(), pair.cert().display().to_string());
        format!(
            "memcacheds+srv://_memcached._tcp.cache.test?discovery_dns=127.0.0.1:{dns}&ca={ca}\
             &{PATIENT}{settings}"
        )
    };
    let client = Client::connect(&url("")).await.unwrap();
    listed(&client, &[name("a", &a), name("b", &b)]).await;
    is_used(&client).await;
    let error = Client::connect(&url("&server_name=d.cache.test")).await.unwrap_err();
    assert!(error.is_connect() && !error.is_discovery() && !error.is_timeout(), "{error}");
    // The name itself is in nobody's files: where its address comes from is the same DNS server.
    let error = Client::connect(&url("&by_name")).await.unwrap_err();
    assert!(error.is_connect() && !error.is_discovery(), "{error}");

    // One has gone, another has come: it is there, and not what its certificate says.
    let told = records([srv("b", &b), srv("c", &c)]);
    dns.tell(&told.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    listed(&client, &[name("b", &b), name("c", &c)]).await;
    let own = |key: &String| *client.route(key)[0] == name("b", &b);
    let key = (0..).map(|n| n.to_string()).find(own).unwrap();
    client.set(&key, "1", Ttl::NEVER).await.unwrap();
    let other = (0..).map(|n| n.to_string()).find(|key| !own(key)).unwrap();
    let error = client.set(&other, "1", Ttl::NEVER).await.unwrap_err();
    assert!(error.is_connect() && !error.is_timeout(), "{error}");
}

#[tokio::test]
async fn etcd_is_asked_with_a_login_over_tls() {
    let Some(server) = nuthatchd() else { return };
    let pair = Pair::new(&["127.0.0.1", "cache-0.mycluster.example"]);
    let (cert, key) = (pair.cert().display().to_string(), pair.key().display().to_string());
    let args = [format!("--cert-file={cert}"), format!("--key-file={key}")];
    let Some(etcd) = Etcd::start_with(&args.each_ref().map(String::as_str)).unwrap() else {
        return eprintln!("skipped: there is no etcd");
    };
    let Some(etcdctl) = find_program("etcdctl") else {
        return eprintln!("skipped: there is no etcdctl");
    };
    let etcdctl = |args: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command.env("ETCDCTL_API", "3").arg(format!("--cacert={cert}"));
        command.arg(format!("--endpoints=https://127.0.0.1:{}", etcd.port())).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    };
    let (plain, secure) = (Daemon::builder(&server).start().unwrap(), pair.start(&server, ""));
    for (prefix, daemon) in [("plain", &plain), ("secure", &secure)] {
        let port = daemon.port().unwrap();
        let node = format!(
            r#"{{"host":"cache-0.mycluster.example","address":"127.0.0.1","port":{port}}}"#
        );
        etcdctl(&["put", &format!("/{prefix}/nodes/0"), &node]);
    }
    etcdctl(&["user", "add", "root:S3cretPw"]);
    etcdctl(&["user", "grant-role", "root", "root"]);
    etcdctl(&["auth", "enable"]);

    let connect = async |scheme: &str, place: &str, settings: &str| {
        let port = etcd.port();
        Client::connect(&format!("{scheme}://127.0.0.1:{port}/{place}?{settings}")).await
    };
    let login_as = |file: &str, password: &str| {
        let file = etcd.folder().join(file);
        std::fs::write(&file, format!("root:{password}\n")).unwrap();
        format!("&discovery_login={}", file.display())
    };
    let login = login_as("good", "S3cretPw");
    let ca = format!("&discovery_ca={cert}");
    let client = connect("memcached+etcds", "plain", &format!("{PATIENT}{login}{ca}")).await;
    let client = client.unwrap();
    is_used(&client).await;
    let name = |daemon: &Daemon| format!("cache-0.mycluster.example:{}", daemon.port().unwrap());
    assert_eq!(names(&client), [name(&plain)]);
    let settings = format!("{PATIENT}{login}{ca}&ca={cert}");
    let client = connect("memcacheds+etcd", "secure", &settings).await.unwrap();
    is_used(&client).await;
    assert_eq!(names(&client), [name(&secure)]);

    let brief = "connect_timeout=200ms";
    for (settings, why) in [
        // Whom nobody vouches for; who is nobody; who is somebody else.
        (format!("{brief}{login}"), "certificate"),
        (format!("{brief}{ca}"), ""),
        (format!("{brief}{ca}{}", login_as("bad", "wrongPw")), ""),
    ] {
        let error = connect("memcached+etcds", "plain", &settings).await.unwrap_err();
        assert!(error.is_discovery() && error.to_string().contains(why), "{settings}: {error}");
        assert!(!format!("{error} {error:?}").contains("wrongPw"), "{error:?}");
    }
}

#[tokio::test]
async fn a_cluster_is_asked_over_tls_and_its_nodes_must_be_who_they_are() {
    let Some(server) = nuthatchd() else { return };
    let pair = Pair::new(&["cache-0.mycluster.example", "127.0.0.1"]);
    let daemon = pair.start(&server, ",discovery");
    let tls = ClientTls::builder().roots(pair.cert()).build().unwrap();
    let connect = async |settings: &str| {
        let port = daemon.port().unwrap();
        let url = format!("memcacheds+discover://127.0.0.1:{port}?{PATIENT}{settings}");
        Client::connect(&url).await
    };
    let ca = format!("&ca={}", pair.cert().display());
    set_list(&daemon, &tls, 1, "cache-0.mycluster.example").await;
    for settings in [
        ca.clone(),
        format!("{ca}&server_name=cache-0.mycluster.example&tls_min=1.3"),
        "&danger_accept_any_certificate".to_owned(),
    ] {
        is_used(&connect(&settings).await.unwrap()).await;
    }
    // It tells who it is, and its certificate says otherwise.
    set_list(&daemon, &tls, 2, "cache-1.mycluster.example").await;
    let error = connect(&ca).await.unwrap_err();
    assert!(error.is_connect() && !error.is_discovery() && !error.is_timeout(), "{error}");
    is_used(&connect(&format!("{ca}&danger_accept_any_name")).await.unwrap()).await;
    // Whom the machine does not know is not even asked.
    let port = daemon.port().unwrap();
    let url = format!("memcacheds+discover://127.0.0.1:{port}?connect_timeout=200ms");
    let error = Client::connect(&url).await.unwrap_err();
    assert!(error.is_discovery() && error.to_string().contains("certificate"), "{error}");
    // The insecure forms are asked for by name, and each is what it says.
    let error = connect("&danger_accept_any_name&connect_timeout=200ms").await.unwrap_err();
    assert!(error.is_discovery(), "{error}");
}
