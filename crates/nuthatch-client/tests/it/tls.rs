//! The same client over TLS.

use nuthatch_client::{Client, Protocol, tls::ClientTls};
use nuthatch_transport::{
    BindOptions, ListenAddr, Local, bind,
    tls::{ClientAuth, ServerTls},
};

#[test]
fn calls_go_over_tls_to_whom_the_certificate_names() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = ServerTls::builder(&cert).key(&key).load().unwrap();
    let list = ListenAddr::parse_list("127.0.0.1:0").unwrap();
    let bound = bind(&list, 0, BindOptions::default()).unwrap().remove(0);
    let Local::Tcp(address) = *bound.local() else { panic!("a TCP address") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = bound.into_listener().unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let plain = listener.accept().await.unwrap().into_stream().unwrap();
                // A client that does not believe the certificate goes.
                let Ok(mut stream) = server.accept(plain, ClientAuth::None).await else { continue };
                tell.send(stream.tls().unwrap().is_resumed()).unwrap();
                let mut asked = [0; 9];
                assert_eq!(stream.read(&mut asked).await.unwrap(), 9);
                assert_eq!(&asked, b"version\r\n");
                stream.write_all(b"VERSION 1.2.3\r\n").await.unwrap();
            }
        });
        let address = address.to_string();
        let tls = ClientTls::builder().roots(&cert);
        let named = tls.clone().server_name("cache.example").build().unwrap();
        // Who comes back with the same settings goes on with its session.
        for is_resumed in [false, true] {
            let client = Client::builder().protocol(Protocol::Text).tls(named.clone());
            let cache = client.connect(&address).await.unwrap();
            assert_eq!(cache.version().await.unwrap(), "1.2.3");
            assert_eq!(told.recv().await, Some(is_resumed));
        }
        // The address itself is not in the certificate.
        let error = Client::builder()
            .protocol(Protocol::Text)
            .tls(tls.build().unwrap())
            .connect(&address)
            .await
            .unwrap_err();
        assert!(error.is_connect() && !error.is_timeout(), "{error}");
    });
}
