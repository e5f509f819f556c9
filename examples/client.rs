//! The client: many calls over one connection to a running server.
//!
//! `cargo run --release` in one terminal, `cargo run -p nuthatch-examples --bin client` in another.

use nuthatch_client::Client;
use nuthatch_client::types::Ttl;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), nuthatch_client::Error> {
    let cache = Client::connect("127.0.0.1:11211").await?;
    cache.set("greeting", "hello", Ttl::secs(60)).await?;
    if let Some(item) = cache.get("greeting").await? {
        println!("{}", item.value.escape_ascii());
    }
    let found = cache.get_many(["greeting", "farewell"]).await?;
    println!("{} of 2 found", found.iter().flatten().count());
    Ok(())
}
