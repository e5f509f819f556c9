//! What TLS costs, with and without, side by side: the same requests to the same server over both.
//!
//! `cargo xtask bench tls [seconds]`, or `cargo run --release -p nuthatch-examples --bin tls_cost`
//!
//! Server and client are threads of this one process, on this one machine. The CPU time is that of
//! both together; a network between them would only make the shares of TLS smaller. What matters
//! most stands in the last lines: connections that are kept cost no handshake.

use std::error::Error;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nuthatch_server::{Engine, Server};
use nuthatch_store::Store;
use nuthatch_transport::tls::{ClientAuth, ClientTls, ServerTls};
use nuthatch_transport::{BindOptions, ConnectAddr, ListenAddr, Stream, bind};
use tokio::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How a client reaches the server.
struct Way<'a> {
    address: ConnectAddr,
    tls: Option<&'a ClientTls>,
}

impl Way<'_> {
    async fn connect(&self) -> Result<Stream> {
        let stream = Stream::connect(&self.address).await?;
        Ok(match self.tls {
            Some(tls) => tls.connect(stream, "cache.example").await?,
            None => stream,
        })
    }
}

/// Requests a second, and the microseconds of CPU that each took.
#[derive(Clone, Copy)]
struct Figures {
    rate: f64,
    cpu_us: f64,
}

fn cpu_secs() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let secs = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(secs(usage.user_time()) + secs(usage.system_time()))
}

/// Does something again and again for so long; it says how many requests that was.
async fn measure(time: Duration, mut work: impl AsyncFnMut() -> Result<u32>) -> Result<Figures> {
    for _ in 0..10 {
        work().await?;
    }
    let (begun, cpu) = (Instant::now(), cpu_secs()?);
    let mut n_requests = 0.0;
    while begun.elapsed() < time {
        n_requests += f64::from(work().await?);
    }
    let cpu_us = (cpu_secs()? - cpu) * 1e6 / n_requests;
    Ok(Figures { rate: n_requests / begun.elapsed().as_secs_f64(), cpu_us })
}

/// Sends this and reads an answer of so many bytes.
async fn exchange(stream: &mut Stream, said: &[u8], answer_bytes: usize) -> Result<()> {
    stream.write_all(said).await?;
    let mut n_read = 0;
    let mut buffer = [0; 32 << 10];
    while n_read < answer_bytes {
        match stream.read(&mut buffer).await? {
            0 => return Err("the server ended the connection".into()),
            n => n_read += n,
        }
    }
    Ok(())
}

async fn kept(way: &Way<'_>, time: Duration, n_at_once: u32, value: usize) -> Result<Figures> {
    let mut stream = way.connect().await?;
    let set = format!("set k 0 0 {value}\r\n{}\r\n", "v".repeat(value));
    exchange(&mut stream, set.as_bytes(), "STORED\r\n".len()).await?;
    let said = b"get k\r\n".repeat(n_at_once as usize);
    let answer = format!("VALUE k 0 {value}\r\n").len() + value + "\r\nEND\r\n".len();
    let answers = answer * n_at_once as usize;
    measure(time, async || {
        exchange(&mut stream, &said, answers).await?;
        Ok(n_at_once)
    })
    .await
}

/// Makes a client that has never been there.
type MakeClient<'a> = &'a dyn Fn() -> Result<ClientTls>;

/// A connection for each request; with `fresh`, each of a new client.
async fn anew(way: &Way<'_>, time: Duration, fresh: Option<MakeClient<'_>>) -> Result<Figures> {
    let mut n_full = 0;
    let figures = measure(time, async || {
        let made = fresh.map(|make| make()).transpose()?;
        let way = Way { address: way.address.clone(), tls: made.as_ref().or(way.tls) };
        let mut stream = way.connect().await?;
        exchange(&mut stream, b"get nothing\r\n", "END\r\n".len()).await?;
        n_full += u32::from(stream.tls().is_some_and(|tls| !tls.is_resumed()));
        Ok(1)
    })
    .await?;
    // The very first connection has nothing to go on from.
    if fresh.is_none() && n_full > 1 {
        return Err(format!("{n_full} sessions were not resumed").into());
    }
    Ok(figures)
}

fn row(what: &str, plain: Figures, tls: Figures) {
    println!(
        "| {what} | {:.0} | {:.0} | {:.1} | {:.1} | {:.2} |",
        plain.rate,
        tls.rate,
        plain.cpu_us,
        tls.cpu_us,
        tls.cpu_us / plain.cpu_us
    );
}

fn main() -> Result<()> {
    let secs: f64 = std::env::args().nth(1).map_or(Ok(1.0), |text| text.parse())?;
    let time = Duration::try_from_secs_f64(secs)?;
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()])?;
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;

    let addresses = ListenAddr::parse_list("notls:127.0.0.1:0,127.0.0.1:0")?;
    let bound = bind(&addresses, 0, BindOptions::default())?;
    let mut at = Vec::new();
    for one in &bound {
        at.push(one.local().to_string().parse::<ConnectAddr>()?);
    }
    let [plain_at, tls_at] = <[ConnectAddr; 2]>::try_from(at).map_err(|_| "two listeners")?;
    let server = Server::builder()
        .listen(bound)
        .threads(NonZeroUsize::MIN)
        .tls(ServerTls::builder(&cert).key(&key).load()?, ClientAuth::None)
        .build();
    let stop = server.stop();
    let engine = Engine::builder().build(Store::builder().memory_limit(64 << 20).build()?);
    let served = thread::spawn(move || server.run(move || engine.clone(), std::future::pending()));

    let client = || Ok(ClientTls::builder().roots(&cert).build()?);
    let known = client()?;
    let plain = Way { address: plain_at, tls: None };
    let tls = Way { address: tls_at, tls: Some(&known) };
    println!("| | plain/s | TLS/s | plain CPU µs | TLS CPU µs | CPU ratio |");
    println!("|---|--:|--:|--:|--:|--:|");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (what, n_at_once, value) in [
            ("get 64 B, connection kept", 1, 64),
            ("get 64 B, 32 in flight", 32, 64),
            ("get 16 KiB", 1, 16 << 10),
        ] {
            let without = kept(&plain, time, n_at_once, value).await?;
            row(what, without, kept(&tls, time, n_at_once, value).await?);
        }
        let without = anew(&plain, time, None).await?;
        row("connect, get, close; full handshake", without, anew(&tls, time, Some(&client)).await?);
        row("the same, sessions resumed", without, anew(&tls, time, None).await?);
        Result::Ok(())
    })?;
    stop.stop(nuthatch_server::End::AtOnce);
    served.join().map_err(|_| "the server panicked")??;
    Ok(())
}
