//! A cache that fills itself: what it does not have it asks a slow source for, on another thread,
//! and answers when that has come. Meanwhile the other connections are served.
//!
//! `cargo run -p nuthatch-examples --bin read_through`, then
//! `printf 'get a\r\nget a\r\nquit\r\n' | nc localhost 11311`: the first answer takes a second.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nuthatch_proto::types::{ItemFlags, Key, Ttl};
use nuthatch_proto::{Handler, Later, Outcome, Reply, Request};
use nuthatch_server::{Engine, ItemPin, ItemSink, Server};
use nuthatch_store::{Set, Store};
use nuthatch_transport::{BindOptions, ListenAddr, bind};

/// What a connection waits for: the key that was missing, and the duty to answer.
type Miss = (Vec<u8>, Later<ItemPin>);

struct ReadThrough {
    engine: Engine,
    misses: mpsc::Sender<Miss>,
}

impl ReadThrough {
    /// The key of a `get` of a single item that is not here.
    fn missing<'a>(&self, request: &Request<'a>) -> Option<Key<'a>> {
        let Request::Get(get) = request else { return None };
        let mut keys = get.keys();
        let key = keys.next().filter(|_| keys.next().is_none())?;
        self.engine.store().peek(key, |_, _| ()).is_none().then_some(key)
    }
}

impl Handler for ReadThrough {
    type Pin = ItemPin;
    type Sink = ItemSink;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        let Some(key) = self.missing(&request) else { return self.engine.call(request, reply) };
        // If the loader has ended, the duty is dropped and the client is told so.
        let _ = self.misses.send((key.as_bytes().to_vec(), reply.later()));
        Outcome::Pending
    }

    fn reserve(&mut self, request: &Request<'_>, len: usize) -> Result<ItemSink, &'static str> {
        self.engine.reserve(request, len)
    }

    fn commit(
        &mut self,
        request: Request<'_>,
        sink: ItemSink,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        self.engine.commit(request, sink, reply)
    }
}

/// The slow source.
fn load(store: &Store, misses: mpsc::Receiver<Miss>) {
    for (key, later) in misses {
        if !later.is_wanted() {
            continue; // the client has left
        }
        thread::sleep(Duration::from_secs(1));
        let value = [b"loaded for ", &*key].concat();
        let name = Key::new(&key).expect("it came as a key");
        // A value that there is no memory for is answered all the same.
        let _ = store.set(name, &value, Set { ttl: Ttl::secs(60), ..Set::default() });
        later.answer(move |reply| {
            let name = Key::new(&key).expect("it came as a key");
            reply.value(name, ItemFlags(0), &value, None);
            reply.end();
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::builder().memory_limit(256 << 20).build()?;
    let maintenance = store.spawn_maintenance()?;
    let engine = Engine::builder().maintenance(maintenance).build(store.clone());
    let (misses, inbox) = mpsc::channel();
    thread::spawn(move || load(&store, inbox));
    let bound = bind(&ListenAddr::parse_list("127.0.0.1:11311")?, 0, BindOptions::default())?;
    println!("answering every get on 127.0.0.1:11311");
    let handler = move || ReadThrough { engine: engine.clone(), misses: misses.clone() };
    Server::builder().listen(bound).build().run(handler, std::future::pending())?;
    Ok(())
}
