//! A cache server of one's own: the stock engine behind a guard that admits one key prefix only.
//!
//! `cargo run -p nuthatch-examples --bin custom_server`, then
//! `printf 'get billing:1\r\nget other\r\nquit\r\n' | nc localhost 11311`

use nuthatch_proto::{Handler, Outcome, Reply, Request};
use nuthatch_server::{Engine, ItemPin, ItemSink, Server};
use nuthatch_store::Store;
use nuthatch_transport::{BindOptions, ListenAddr, bind};

struct Tenant {
    engine: Engine,
    prefix: &'static [u8],
}

const REFUSAL: &str = "CLIENT_ERROR key belongs to another tenant";

impl Tenant {
    fn admits(&self, request: &Request<'_>) -> bool {
        match request {
            Request::Get(get) => get.keys().all(|key| key.as_bytes().starts_with(self.prefix)),
            request => request.key().is_none_or(|key| key.as_bytes().starts_with(self.prefix)),
        }
    }
}

impl Handler for Tenant {
    type Pin = ItemPin;
    type Sink = ItemSink;

    fn call(&mut self, request: Request<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        if !self.admits(&request) {
            reply.error(REFUSAL);
            return Outcome::Done;
        }
        self.engine.call(request, reply)
    }

    fn reserve(&mut self, request: &Request<'_>, len: usize) -> Result<ItemSink, &'static str> {
        if self.admits(request) { self.engine.reserve(request, len) } else { Err(REFUSAL) }
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::builder().memory_limit(256 << 20).build()?;
    let maintenance = store.spawn_maintenance()?;
    let engine = Engine::builder().maintenance(maintenance).build(store);
    let bound = bind(&ListenAddr::parse_list("127.0.0.1:11311")?, 0, BindOptions::default())?;
    println!("serving keys that begin with billing: on 127.0.0.1:11311");
    let handler = move || Tenant { engine: engine.clone(), prefix: b"billing:" };
    Server::builder().listen(bound).build().run(handler, std::future::pending())?;
    Ok(())
}
