//! TLS with a real server: whom a client believes, and by which names.

use std::path::{Path, PathBuf};

use nuthatch_client::types::Ttl;
use nuthatch_client::{AutoDiscovery, Client, tls::ClientTls};
use nuthatch_testkit::Daemon;
use nuthatch_transport::Stream;
use tempfile::TempDir;

use crate::cluster::address;
use crate::dialects::{nuthatchd, patient};

/// A certificate for these names, by itself.
pub(crate) struct Pair {
    folder: TempDir,
}

impl Pair {
    pub(crate) fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// A server that shows it; plain on a second listener where `extra` says so.
    pub(crate) fn start(&self, server: &Path, extra: &str) -> Daemon {
        let options = format!(
            "ssl_chain_cert={},ssl_key={}{extra}",
            self.cert().display(),
            self.key().display()
        );
        Daemon::builder(server).args(["-Z", "-o", &options]).start().unwrap()
    }
}

/// Tells a server that it is the only node, at its address and by this name.
pub(crate) async fn set_list(daemon: &Daemon, tls: &ClientTls, version: u64, name: &str) {
    let payload = format!("{version}\n{name}|127.0.0.1|{}\n", daemon.port().unwrap());
    let set = format!("config set cluster 0 {}\r\n{payload}\r\n", payload.len());
    let plain = Stream::connect(&address(daemon).parse().unwrap()).await.unwrap();
    let mut stream = tls.connect(plain, "127.0.0.1").await.unwrap();
    stream.write_all(set.as_bytes()).await.unwrap();
    let mut answer = [0; 8];
    assert_eq!(stream.read(&mut answer).await.unwrap(), 8);
    assert_eq!(&answer, b"STORED\r\n");
}

#[tokio::test]
async fn a_url_says_whom_to_believe() {
    let Some(server) = nuthatchd() else { return };
    let pair = Pair::new(&["*.mycluster.example"]);
    let daemon = pair.start(&server, "");
    let port = daemon.port().unwrap();
    let url = |settings: &str| {
        format!("memcacheds://127.0.0.1:{port}/?connect_timeout=20s&timeout=20s{settings}")
    };
    let ca = format!("&ca={}", pair.cert().display());
    for settings in [
        format!("{ca}&server_name=cache-0.mycluster.example"),
        format!("{ca}&server_name=cache-0.mycluster.example&tls_min=1.3&connections=2"),
        format!("{ca}&danger_accept_any_name"),
        "&danger_accept_any_certificate".to_owned(),
    ] {
        let client = Client::connect(&url(&settings)).await.unwrap();
        client.set("a", "1", Ttl::NEVER).await.unwrap();
        assert_eq!(client.get("a").await.unwrap().unwrap().value, "1", "{settings}");
    }
    for settings in [ca.clone(), format!("{ca}&server_name=cache.other.example"), String::new()] {
        let error = Client::connect(&url(&settings)).await.unwrap_err();
        assert!(error.is_connect() && !error.is_timeout(), "{settings}: {error}");
    }
    // Plain text is not let in, and does not wait for ever.
    let error = patient().connect(&format!("127.0.0.1:{port}")).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
}

#[tokio::test]
async fn nodes_are_believed_by_the_names_in_the_list() {
    let Some(server) = nuthatchd() else { return };
    let pair = Pair::new(&["cache-0.mycluster.example", "127.0.0.1"]);
    let daemon = pair.start(&server, ",discovery");
    let tls = ClientTls::builder().roots(pair.cert()).build().unwrap();
    let tell = async |version, name| set_list(&daemon, &tls, version, name).await;
    let discover = async || {
        let cluster = AutoDiscovery::at(&address(&daemon)).unwrap();
        patient().tls(tls.clone()).auto_discover(cluster).await
    };
    // It is reached at its address, and must be who the list says.
    tell(1, "cache-0.mycluster.example").await;
    let client = discover().await.unwrap();
    client.set("a", "1", Ttl::NEVER).await.unwrap();
    assert_eq!(client.get("a").await.unwrap().unwrap().value, "1");
    tell(2, "cache-1.mycluster.example").await;
    let error = discover().await.unwrap_err();
    assert!(error.is_connect() && !error.is_discovery() && !error.is_timeout(), "{error}");
}
