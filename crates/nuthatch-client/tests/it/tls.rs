//! The same client over TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nuthatch_client::{Client, Protocol, tls::ClientTls};
use nuthatch_transport::{
    BindOptions, ListenAddr, Local, bind,
    tls::{ClientAuth, ServerTls},
};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};

/// A server that is `cache.example`, for one connection at a time.
struct Server {
    folder: TempDir,
    address: SocketAddr,
    /// Of each connection, whether it went on with a session of before.
    told: mpsc::UnboundedReceiver<bool>,
    /// Ends the connection.
    cut: Arc<Notify>,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let server = ServerTls::builder(&cert).key(&key).load().unwrap();
        let list = ListenAddr::parse_list("127.0.0.1:0").unwrap();
        let bound = bind(&list, 0, BindOptions::default()).unwrap().remove(0);
        let Local::Tcp(address) = *bound.local() else { panic!("a TCP address") };
        let listener = bound.into_listener().unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        let cut = Arc::new(Notify::new());
        let is_cut = Arc::clone(&cut);
        tokio::spawn(async move {
            loop {
                let plain = listener.accept().await.unwrap().into_stream().unwrap();
                // A client that does not believe the certificate goes.
                let Ok(mut stream) = server.accept(plain, ClientAuth::None).await else { continue };
                tell.send(stream.tls().unwrap().is_resumed()).unwrap();
                let mut asked = [0; 9];
                loop {
                    tokio::select! {
                        read = stream.read(&mut asked) => match read {
                            Ok(9) => assert_eq!(&asked, b"version\r\n"),
                            _ => break,
                        },
                        () = is_cut.notified() => break,
                    }
                    stream.write_all(b"VERSION 1.2.3\r\n").await.unwrap();
                }
            }
        });
        Self { folder, address, told, cut }
    }

    fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }
}

#[tokio::test]
async fn calls_go_over_tls_to_whom_the_certificate_names() {
    let mut server = Server::start();
    let address = server.address.to_string();
    let tls = ClientTls::builder().roots(server.cert());
    let named = tls.clone().server_name("cache.example").build().unwrap();
    // Who comes back with the same settings goes on with its session.
    for is_resumed in [false, true] {
        let client = Client::builder().protocol(Protocol::Text).tls(named.clone());
        let cache = client.connect(&address).await.unwrap();
        assert_eq!(cache.version().await.unwrap(), "1.2.3");
        assert_eq!(server.told.recv().await, Some(is_resumed));
    }
    // The address itself is not in the certificate.
    let error = Client::builder()
        .protocol(Protocol::Text)
        .tls(tls.build().unwrap())
        .connect(&address)
        .await
        .unwrap_err();
    assert!(error.is_connect() && !error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_client_that_connects_again_goes_on_with_its_session() {
    let mut server = Server::start();
    let url = format!(
        "memcacheds://{}?ca={}&server_name=cache.example&protocol=text&timeout=20s",
        server.address,
        server.cert().display()
    );
    let cache = Client::connect(&url).await.unwrap();
    for is_resumed in [false, true, true] {
        assert_eq!(server.told.recv().await, Some(is_resumed));
        assert_eq!(cache.version().await.unwrap(), "1.2.3");
        server.cut.notify_one();
    }
}
