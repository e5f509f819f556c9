//! The codec alone: a cache that forgets everything, on blocking sockets, without runtime or engine.
//!
//! `cargo run -p nuthatch-examples --bin codec`, then `printf 'get a\r\nquit\r\n' | nc localhost 11411`

use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};

use nuthatch_proto::{Handler, Outcome, Pinned, Reply, Request, Session, Sink, Want};

/// Finds nothing and keeps nothing.
struct Forgetful;

/// A value that is thrown away as it arrives.
struct Bin(Vec<u8>);

/// There is no item memory to hold.
enum NoPin {}

impl Pinned for NoPin {
    fn piece(&self, _: usize) -> Option<&[u8]> {
        match *self {}
    }
}

impl Sink for Bin {
    fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn filled(&mut self, n: usize) {
        self.0.truncate(self.0.len() - n);
    }
}

impl Handler for Forgetful {
    type Pin = NoPin;
    type Sink = Bin;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, NoPin>) -> Outcome {
        match request {
            Request::Get(_) => reply.end(),
            Request::Set(_) => reply.line("NOT_STORED"),
            Request::Delete(_) | Request::Touch { .. } => reply.line("NOT_FOUND"),
            _ => reply.error("SERVER_ERROR not served here"),
        }
        Outcome::Done
    }

    fn reserve(&mut self, _: &Request<'_>, len: usize) -> Result<Bin, &'static str> {
        if len > 1 << 20 {
            Err("SERVER_ERROR object too large for cache")
        } else {
            Ok(Bin(vec![0; len]))
        }
    }

    fn commit(&mut self, _: Request<'_>, _: Bin, reply: &mut Reply<'_, NoPin>) -> Outcome {
        reply.line("NOT_STORED");
        Outcome::Done
    }
}

fn serve(mut socket: TcpStream) -> io::Result<()> {
    let mut session = Session::<Forgetful>::new();
    loop {
        match session.process(&mut Forgetful, 20) {
            Want::Read => match socket.read(session.recv_space())? {
                0 => return Ok(()),
                n => session.received(n),
            },
            Want::Write => {
                let mut slices = [IoSlice::new(&[]); 16];
                let n_slices = session.transmit(&mut slices);
                let n = socket.write_vectored(&slices[..n_slices])?;
                session.sent(n);
            }
            Want::Yield => {}
            Want::Wait | Want::Stream | Want::Close => return Ok(()),
        }
    }
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:11411")?;
    println!("forgetting on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        std::thread::spawn(move || serve(socket));
    }
    Ok(())
}
