//! TLS between our own two ends; other people's are met in the server's tests.

use std::{
    fs,
    future::poll_fn,
    io::{self, IoSlice, Write},
    net::TcpStream,
    path::{Path, PathBuf},
};

use nuthatch_transport::{
    ConnectAddr, Listener, Stream,
    tls::{
        ClientAuth, ClientTls, ClientTlsBuilder, KeyFormat, MinVersion, ServerTls,
        ServerTlsBuilder, TlsError,
    },
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpSocket};

use super::{block_on, bound, pair, read_to_end};

const NAME: &str = "cache.example";

/// An authority, a server's certificate and a client's, in files of a folder.
struct Pki {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pki = Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key) };
        fs::write(pki.path("ca.pem"), certificate.pem()).unwrap();
        pki.issue("server", &[NAME, "*.wild.example"]);
        pki.issue("client", &["client.example"]);
        pki
    }

    /// Writes `who.pem` and `who.key`.
    fn issue(&self, who: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{who}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{who}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self) -> ServerTlsBuilder {
        ServerTls::builder(self.path("server.pem"))
            .key(self.path("server.key"))
            .authorities(self.path("ca.pem"))
    }

    fn client(&self) -> ClientTlsBuilder {
        ClientTls::builder().roots(self.path("ca.pem"))
    }

    fn known_client(&self) -> ClientTls {
        self.client().identity(self.path("client.pem"), self.path("client.key")).build().unwrap()
    }
}

/// Both ends of a connection, or what either of them says against it. A byte goes each way, so that
/// a refusal after the client's part of the handshake shows too.
async fn meet(
    (listener, address): (&Listener, &ConnectAddr),
    (server, auth): (&ServerTls, ClientAuth),
    (client, name): (&ClientTls, &str),
) -> Result<(Stream, Stream), (Option<String>, Option<String>)> {
    let (ours, theirs) = pair(listener, address).await;
    let serve = async {
        let mut stream = server.accept(theirs, auth).await?;
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await?, 1);
        stream.write_all(&byte).await?;
        io::Result::Ok(stream)
    };
    let ask = async {
        let mut stream = client.connect(ours, name).await?;
        stream.write_all(b"x").await?;
        let mut byte = [0];
        match stream.read(&mut byte).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => io::Result::Ok(stream),
        }
    };
    match tokio::join!(serve, ask) {
        (Ok(server), Ok(client)) => Ok((client, server)),
        (server, client) => {
            Err((server.err().map(|e| e.to_string()), client.err().map(|e| e.to_string())))
        }
    }
}

/// Runs a test with a listener.
fn listening(test: impl AsyncFnOnce((&Listener, &ConnectAddr))) {
    let (bound, address) = bound("127.0.0.1:0");
    block_on(async { test((&bound.into_listener().unwrap(), &address)).await });
}

/// Runs a test with the client's and the server's end of a connection.
fn connected(test: impl AsyncFnOnce(Stream, Stream)) {
    let pki = Pki::new();
    let server = pki.server().load().unwrap();
    let client = pki.client().build().unwrap();
    listening(async |at| {
        let auth = (&server, ClientAuth::None);
        let (client, server) = meet(at, auth, (&client, NAME)).await.unwrap();
        test(client, server).await;
    });
}

#[test]
fn a_megabyte_arrives_whole_both_ways() {
    let data: Vec<u8> = (0u32..1 << 20).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    connected(async |mut client, mut server| {
        assert!(client.tls().unwrap().peer_certificate().is_some());
        assert!(server.tls().unwrap().peer_certificate().is_none());
        let echo = async {
            server.write_all(&data).await.unwrap();
            let mut back = Vec::new();
            let mut buffer = vec![0; 16 << 10];
            while back.len() < data.len() {
                let n = server.read(&mut buffer).await.unwrap();
                assert!(n > 0);
                back.extend_from_slice(&buffer[..n]);
            }
            back
        };
        let there_and_back = async {
            let mut there = vec![0; data.len()];
            let mut n_read = 0;
            while n_read < data.len() {
                n_read += client.read(&mut there[n_read..]).await.unwrap();
            }
            client.write_all(&there).await.unwrap();
        };
        let (back, ()) = tokio::join!(echo, there_and_back);
        assert!(back == data);
    });
}

#[test]
fn a_server_is_who_its_certificate_says() {
    let pki = Pki::new();
    let stranger = Pki::new();
    let server = pki.server().load().unwrap();
    listening(async |at| {
        let auth = (&server, ClientAuth::None);
        let try_it = async |client: ClientTlsBuilder, name: &str| {
            meet(at, auth, (&client.build().unwrap(), name)).await.is_ok()
        };
        assert!(try_it(pki.client(), NAME).await);
        assert!(try_it(pki.client(), "node7.wild.example").await);
        assert!(!try_it(pki.client(), "a.b.wild.example").await, "a wildcard is one label");
        assert!(!try_it(pki.client(), "other.example").await);
        assert!(!try_it(pki.client(), "127.0.0.1").await);
        assert!(try_it(pki.client().server_name(NAME), "127.0.0.1").await);
        assert!(!try_it(pki.client().server_name("other.example"), NAME).await);
        assert!(!try_it(stranger.client(), NAME).await);

        assert!(try_it(pki.client().danger_accept_any_name(true), "127.0.0.1").await);
        assert!(!try_it(stranger.client().danger_accept_any_name(true), NAME).await);
        let any = || ClientTls::builder().danger_accept_any_certificate(true);
        assert!(try_it(any(), "127.0.0.1").await);
        assert!(try_it(any(), NAME).await);
    });
    let error = pki.client().server_name("no name").build().unwrap_err();
    assert_eq!(error, TlsError::Name { name: "no name".to_owned() });
}

#[test]
fn clients_show_certificates_where_they_must() {
    let pki = Pki::new();
    let stranger = Pki::new();
    let server = pki.server().load().unwrap();
    let without_authority =
        ServerTls::builder(pki.path("server.pem")).key(pki.path("server.key")).load().unwrap();
    let nobody = pki.client().build().unwrap();
    let known = pki.known_client();
    let unknown = pki
        .client()
        .identity(stranger.path("client.pem"), stranger.path("client.key"))
        .build()
        .unwrap();
    listening(async |at| {
        let try_it = async |server: &ServerTls, auth, client: &ClientTls| {
            let met = meet(at, (server, auth), (client, NAME)).await;
            met.map(|(_, server)| server.tls().unwrap().peer_certificate().is_some()).ok()
        };
        use ClientAuth::{None as No, Request, Require};
        for (auth, by_nobody, by_known) in [
            (No, Some(false), Some(false)),
            (Request, Some(false), Some(true)),
            (Require, None, Some(true)),
        ] {
            assert_eq!(try_it(&server, auth, &nobody).await, by_nobody, "{auth:?}");
            assert_eq!(try_it(&server, auth, &known).await, by_known, "{auth:?}");
            let by_unknown = (auth == No).then_some(false);
            // With its authority's name at hand, a client may well show nothing instead.
            if auth != Request {
                assert_eq!(try_it(&server, auth, &unknown).await, by_unknown, "{auth:?}");
            }
            let server = &without_authority;
            assert_eq!(try_it(server, auth, &nobody).await, by_nobody, "{auth:?} of nobody");
            assert_eq!(try_it(server, auth, &known).await, by_unknown, "{auth:?} of nobody");
        }
    });
}

#[test]
fn sessions_go_on_only_where_they_were_granted() {
    let pki = Pki::new();
    for cache in [false, true] {
        let server = pki.server().session_cache(cache).load().unwrap();
        assert_eq!(server.has_session_cache(), cache);
        listening(async |at| {
            let client = pki.client().build().unwrap();
            let visit = async |auth| {
                let met = meet(at, (&server, auth), (&client, NAME)).await;
                met.map(|(client, _)| client.tls().unwrap().is_resumed()).ok()
            };
            assert_eq!(visit(ClientAuth::None).await, Some(false));
            assert_eq!(visit(ClientAuth::None).await, Some(true));
            // What was granted to somebody without a certificate opens nothing that needs one.
            assert_eq!(visit(ClientAuth::Require).await, None);
            // That took the one ticket of the visit before.
            assert_eq!(visit(ClientAuth::None).await, Some(false));
            assert_eq!(visit(ClientAuth::None).await, Some(true));
            server.reload().unwrap();
            assert_eq!(visit(ClientAuth::None).await, Some(false));

            // Who is asked for a certificate shows it each time: it may have run out meanwhile.
            let client = pki.known_client();
            for auth in [ClientAuth::Require, ClientAuth::Request] {
                for _ in 0..2 {
                    let met = meet(at, (&server, auth), (&client, NAME)).await;
                    let (client, server) = met.unwrap();
                    assert!(!client.tls().unwrap().is_resumed());
                    assert!(server.tls().unwrap().peer_certificate().is_some());
                }
            }
        });
    }
}

#[test]
fn everything_deciphered_is_read_at_once() {
    connected(async |mut client, mut server| {
        // Each is a record of its own.
        for _ in 0..100 {
            client.write_all(b"set k 0 0 1\r\nx\r\n").await.unwrap();
        }
        let mut all = Vec::new();
        let mut n_reads = 0;
        while all.len() < 1600 {
            let mut buffer = [0; 4096];
            let n = server.read(&mut buffer).await.unwrap();
            all.extend_from_slice(&buffer[..n]);
            n_reads += 1;
        }
        assert!(n_reads < 50, "{n_reads} reads for 100 records that were all there");

        // The same through a buffer that is smaller than a record.
        client.write_all(&all).await.unwrap();
        let mut again = Vec::new();
        while again.len() < all.len() {
            let mut buffer = [0; 7];
            let n = server.read(&mut buffer).await.unwrap();
            again.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(again, all);
    });
}

#[test]
fn buffers_of_one_write_share_a_record() {
    connected(async |mut client, mut server| {
        let parts = [&b"VALUE a 0 1\r\n"[..], b"x", b"\r\n", b"END\r\n"].map(IoSlice::new);
        assert_eq!(poll_fn(|cx| server.poll_write(cx, &parts)).await.unwrap(), 21);
        poll_fn(|cx| server.poll_flush(cx)).await.unwrap();
        let mut buffer = [0; 100];
        assert_eq!(client.read(&mut buffer).await.unwrap(), 21);
    });
}

#[test]
fn either_end_may_say_goodbye_first() {
    connected(async |mut ours, mut theirs| {
        // Who has said that no more comes still gets what it asked for.
        ours.write_all(b"get a\r\n").await.unwrap();
        ours.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut theirs).await, b"get a\r\n");
        theirs.write_all(b"END\r\n").await.unwrap();
        drop(theirs);
        assert_eq!(read_to_end(&mut ours).await, b"END\r\n");
    });
}

#[test]
fn what_is_not_tls_is_refused() {
    let pki = Pki::new();
    let server = pki.server().load().unwrap();
    listening(async |(listener, address)| {
        let ConnectAddr::Tcp { host, port } = address else { panic!("a TCP address") };
        for text in
            [&b"version\r\n"[..], b"\x80\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b""]
        {
            let mut plain = TcpStream::connect((host.as_str(), *port)).unwrap();
            plain.write_all(text).unwrap();
            plain.shutdown(std::net::Shutdown::Write).unwrap();
            let accepted = listener.accept().await.unwrap().into_stream().unwrap();
            let error = server.accept(accepted, ClientAuth::None).await.unwrap_err();
            assert!(!error.to_string().is_empty());
        }
    });
}

#[test]
fn files_are_read_again_all_or_none() {
    let pki = Pki::new();
    let server = pki.server().load().unwrap();
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| pki.path(name));
    listening(async |at| {
        let client = pki.client().build().unwrap();
        let shown = async || {
            let auth = (&server, ClientAuth::None);
            let (client, _) = meet(at, auth, (&client, NAME)).await.unwrap();
            client.tls().unwrap().peer_certificate().unwrap().to_vec()
        };
        let first = shown().await;
        let refused = |file: &Path, with: &str, text: &str| {
            let before = fs::read(file).unwrap();
            fs::write(file, with).unwrap();
            let error = server.reload().unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
            fs::write(file, before).unwrap();
        };
        let at_file =
            |what: &str, file: &Path| format!("Error loading the {what}: {} : ", file.display());
        refused(&cert, "nothing", &at_file("certificate chain", &cert));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        refused(&cert, broken, &at_file("certificate chain", &cert));
        refused(&key, "nothing", &at_file("key", &key));
        refused(
            &key,
            &fs::read_to_string(pki.path("client.key")).unwrap(),
            "Error validating the certificate: ",
        );
        refused(&ca, "nothing", &at_file("CA certificate", &ca));
        fs::rename(&key, pki.path("away")).unwrap();
        let error = server.reload().unwrap_err().to_string();
        assert!(error.starts_with(&at_file("key", &key)), "{error}");
        fs::rename(pki.path("away"), &key).unwrap();
        assert!(shown().await == first, "what was there before stays");

        pki.issue("server", &[NAME]);
        assert!(shown().await == first, "nothing changes by itself");
        server.reload().unwrap();
        assert!(shown().await != first);
    });
}

#[test]
fn keys_come_in_several_forms() {
    let pki = Pki::new();
    let both = pki.path("both.pem");
    let read = |name: &str| fs::read_to_string(pki.path(name)).unwrap();
    fs::write(&both, read("server.pem") + &read("server.key")).unwrap();
    ServerTls::builder(&both).load().unwrap();
    let key = KeyPair::from_pem(&read("server.key")).unwrap();
    fs::write(pki.path("key.der"), key.serialize_der()).unwrap();
    let der = |format| pki.server().key(pki.path("key.der")).key_format(format).load();
    der(KeyFormat::Der).unwrap();
    assert!(matches!(der(KeyFormat::Pem), Err(TlsError::Key { .. })));
}

#[test]
fn ciphers_and_versions_bound_what_is_agreed() {
    let pki = Pki::new();
    let named = |list: &str| pki.server().ciphers(list).load();
    assert_eq!(
        named("NOPE").unwrap_err().to_string(),
        "Error setting the provided cipher(s): NOPE"
    );
    named("ECDHE-ECDSA-AES128-GCM-SHA256").unwrap();
    let newest = pki.server().min_version(MinVersion::Tls13).load().unwrap();
    listening(async |at| {
        let client = pki.client().build().unwrap();
        let (client, _) = meet(at, (&newest, ClientAuth::None), (&client, NAME)).await.unwrap();
        assert_eq!(client.tls().unwrap().version(), "TLSv1.3");
        assert!(client.tls().unwrap().cipher_suite().starts_with("TLS13_"));
    });
}

/// Virtual time passes when everybody waits; sockets are real.
#[test]
fn half_open_handshakes_end_sooner_where_there_are_many() {
    const PLACES: usize = 64;
    let pki = Pki::new();
    let server = pki.server().handshakes_max(PLACES).load().unwrap();
    let client = pki.client().build().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build_local(Default::default()).unwrap();
    let (bound, address) = bound("127.0.0.1:0");
    runtime.block_on(async {
        let listener = bound.into_listener().unwrap();
        let ConnectAddr::Tcp { port, .. } = address else { unreachable!("bound to TCP") };
        // From as many addresses as there are connections: one cannot take all places.
        let sources = std::cell::Cell::new(1);
        let open = async |said: &[u8]| {
            sources.set(sources.get() + 1);
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, sources.get()], 0).into()).unwrap();
            let mut ours = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
            let theirs = listener.accept().await.unwrap().into_stream().unwrap();
            ours.write_all(said).await.unwrap();
            let server = server.clone();
            let begun = tokio::time::Instant::now();
            let task = tokio::task::spawn_local(async move {
                let error = server.accept(theirs, ClientAuth::None).await.unwrap_err();
                (io::Error::from(error).kind(), begun.elapsed().as_secs())
            });
            (ours, task)
        };
        // Few: ten seconds, for those who say nothing and those who stop in the middle of a record.
        let (_silent, first) = open(b"").await;
        let (_stopped, second) = open(&[22, 3, 1, 0]).await;
        for task in [first, second] {
            assert_eq!(task.await.unwrap(), (io::ErrorKind::TimedOut, 10));
        }
        assert_eq!(server.n_handshakes(), 0);

        // All places taken, and as many silent: two, and a client that comes now has its turn.
        let mut held = Vec::new();
        for n in 0..2 * PLACES {
            held.push(open(if n % 2 == 0 { &[] } else { &[22, 3, 1, 0] }).await);
        }
        let (ours, theirs) = pair(&listener, &address).await;
        let (accepted, connected) =
            tokio::join!(server.accept(theirs, ClientAuth::None), client.connect(ours, NAME));
        assert!(accepted.is_ok() && connected.is_ok());
        // They are let go until it is no longer crowded; the rest have their ten seconds again.
        let mut n_early = 0;
        for (_, task) in held {
            let (kind, secs) = task.await.unwrap();
            assert_eq!(kind, io::ErrorKind::TimedOut);
            assert!([2, 10].contains(&secs), "{secs}");
            n_early += usize::from(secs == 2);
        }
        assert!(n_early >= 2 * PLACES - PLACES / 2, "{n_early}");
        assert_eq!(server.n_handshakes(), 0);
    });
}
