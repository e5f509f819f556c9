//! Whole connections, over loopback and Unix sockets.

mod libsasl;
mod tls;

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice, Read},
    os::fd::AsFd,
    path::Path,
    task::Poll,
    thread,
};

use nuthatch_transport::{
    BindOptions, Bound, ConnectAddr, ListenAddr, Listener, Local, Peer, Stream, bind,
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn bound(address: &str) -> (Bound, ConnectAddr) {
    let list = ListenAddr::parse_list(address).unwrap();
    let bound = bind(&list, 11211, BindOptions::default()).unwrap().remove(0);
    let connect = bound.local().to_string().parse().unwrap();
    (bound, connect)
}

async fn pair(listener: &Listener, address: &ConnectAddr) -> (Stream, Stream) {
    let client = Stream::connect(address).await.unwrap();
    let server = listener.accept().await.unwrap().into_stream().unwrap();
    (client, server)
}

async fn read_to_end(stream: &mut Stream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => return all,
            n => all.extend_from_slice(&buffer[..n]),
        }
    }
}

fn addresses(folder: &Path) -> Vec<String> {
    let mut all = vec!["127.0.0.1:0".to_owned(), folder.join("socket").display().to_string()];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        all.push("[::1]:0".to_owned());
    }
    all
}

/// More than the kernel's buffers hold, so that both sides have to wait.
#[test]
fn a_megabyte_arrives_whole_over_every_kind_of_socket() {
    let folder = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0u32..1 << 20).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect();
    for address in addresses(folder.path()) {
        let (bound, address) = bound(&address);
        let got = block_on(async {
            let listener = bound.into_listener().unwrap();
            let (mut client, mut server) = pair(&listener, &address).await;
            let write = async {
                client.write_all(&data).await.unwrap();
                drop(client);
            };
            tokio::join!(write, read_to_end(&mut server)).1
        });
        assert!(got == data, "{address}");
    }
}

#[test]
fn nothing_to_read_is_waited_for() {
    let (bound, address) = bound("127.0.0.1:0");
    block_on(async {
        let listener = bound.into_listener().unwrap();
        let (client, mut server) = pair(&listener, &address).await;
        let read = poll_fn(|cx| Poll::Ready(server.poll_read(cx, &mut [0; 9]))).await;
        assert!(read.is_pending());
        drop(client);
        assert_eq!(read_to_end(&mut server).await, b"");
    });
}

/// A worker's runtime is not the one that accepts.
#[test]
fn an_accepted_connection_can_be_served_by_another_thread() {
    let (bound, address) = bound("127.0.0.1:0");
    block_on(async {
        let listener = bound.into_listener().unwrap();
        let mut client = Stream::connect(&address).await.unwrap();
        let accepted = listener.accept().await.unwrap();
        let worker = thread::spawn(move || {
            block_on(async { accepted.into_stream().unwrap().write_all(b"served").await.unwrap() });
        });
        assert_eq!(read_to_end(&mut client).await, b"served");
        worker.join().unwrap();
    });
}

#[test]
fn several_buffers_go_out_in_order() {
    let (bound, address) = bound("127.0.0.1:0");
    block_on(async {
        let listener = bound.into_listener().unwrap();
        let (mut client, mut server) = pair(&listener, &address).await;
        let buffers = [&b"VALUE a 0 1\r\n"[..], b"x", b"\r\n", b"END\r\n"].map(IoSlice::new);
        assert_eq!(poll_fn(|cx| server.poll_write(cx, &buffers)).await.unwrap(), 21);
        drop(server);
        assert_eq!(read_to_end(&mut client).await, b"VALUE a 0 1\r\nx\r\nEND\r\n");
    });
}

#[test]
fn a_refused_client_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    for address in addresses(folder.path()) {
        let (bound, address) = bound(&address);
        block_on(async {
            let listener = bound.into_listener().unwrap();
            let mut client = Stream::connect(&address).await.unwrap();
            listener.accept().await.unwrap().refuse(b"ERROR Too many open connections\r\n");
            assert_eq!(read_to_end(&mut client).await, b"ERROR Too many open connections\r\n");
        });
    }
}

#[test]
fn accepted_tcp_sockets_have_no_delay_and_are_kept_alive() {
    let (bound, address) = bound("127.0.0.1:0");
    block_on(async {
        let listener = bound.into_listener().unwrap();
        let (client, server) = pair(&listener, &address).await;
        let socket = socket2::SockRef::from(&server);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.linger().unwrap(), None, "close waits for nothing and resets nothing");
        assert!(socket2::SockRef::from(&client.as_fd()).tcp_nodelay().unwrap());
    });
}

#[test]
fn both_ends_know_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (tcp, tcp_address) = bound("127.0.0.1:0");
    let (unix, unix_address) = bound(&folder.path().join("socket").display().to_string());
    block_on(async {
        let listener = tcp.into_listener().unwrap();
        let Local::Tcp(here) = **listener.local() else { panic!("a TCP listener") };
        let (client, server) = pair(&listener, &tcp_address).await;
        assert_eq!(*client.peer(), Peer::Tcp(here));
        assert!(server.peer().to_string().starts_with("tcp:127.0.0.1:"));
        let (client, server) = pair(&unix.into_listener().unwrap(), &unix_address).await;
        assert_eq!((*client.peer(), *server.peer()), (Peer::Unix, Peer::Unix));
    });
}

#[test]
fn connecting_to_nobody_fails() {
    let folder = tempfile::tempdir().unwrap();
    let (bound, address) = bound("127.0.0.1:0");
    drop(bound);
    block_on(async {
        let error = Stream::connect(&address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let path = ConnectAddr::Unix(folder.path().join("none"));
        assert_eq!(Stream::connect(&path).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    });
}

/// The kernel accepts on behalf of a socket as soon as it listens, so clients that come before the
/// runtime exists are not lost.
#[test]
fn clients_may_come_before_the_runtime() {
    let (bound, address) = bound("127.0.0.1:0");
    let ConnectAddr::Tcp { host, port } = &address else { panic!("a TCP address") };
    let mut early = std::net::TcpStream::connect((host.as_str(), *port)).unwrap();
    block_on(async {
        let listener = bound.into_listener().unwrap();
        let mut stream = listener.accept().await.unwrap().into_stream().unwrap();
        stream.write_all(b"late but there").await.unwrap();
    });
    let mut text = String::new();
    early.read_to_string(&mut text).unwrap();
    assert_eq!(text, "late but there");
}
