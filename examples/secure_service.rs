//! A service of one's own that needs no more than this to be safe on a foreign network: TLS, and
//! logins that never send the password. Server and client in one program.
//!
//! `cargo run -p nuthatch-examples --bin secure_service`
//!
//! ```text
//!   client                                   server
//!     │ ── TLS: who are you? ──────────────────► │ certificate
//!     │ ── SCRAM-SHA-256 n,,n=sammy,r=… ───────► │ keys of the password, made once
//!     │ ◄─ + r=…,s=…,i=16384 ─────────────────── │
//!     │ ── c=biws,r=…,p=… ─────────────────────► │ it knows the password
//!     │ ◄─ + v=… ─────────────────────────────── │ so does the server
//!     │ ── (nothing) ──────────────────────────► │
//!     │ ◄─ hello sammy ───────────────────────── │
//! ```

use std::error::Error;
use std::time::SystemTime;

use nuthatch_transport::passwords::Users;
use nuthatch_transport::sasl::{
    Authenticator, Exchange, ITERATIONS_DEFAULT, Login, Mechanism, ScramHash, ScramKeys, Step,
};
use nuthatch_transport::tls::{ClientAuth, ClientTls, ServerTls};
use nuthatch_transport::{BindOptions, ConnectAddr, ListenAddr, Stream, bind};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SCRAM: Mechanism = Mechanism::Scram(ScramHash::Sha256);

/// The longest line that is read, in bytes: whoever sends more has no business here.
const LINE_LEN_MAX: usize = 4096;

/// Lines over a connection, whatever is under it.
struct Lines {
    stream: Stream,
    unread: Vec<u8>,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    async fn next(&mut self) -> Result<String> {
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                return Ok(String::from_utf8(line)?.trim_end().to_owned());
            }
            if self.unread.len() > LINE_LEN_MAX {
                return Err("a line without an end".into());
            }
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer).await? {
                0 => return Err("the connection ended".into()),
                n => self.unread.extend_from_slice(&buffer[..n]),
            }
        }
    }

    async fn say(&mut self, line: impl AsRef<[u8]>) -> Result<()> {
        let line = [line.as_ref(), b"\n"].concat();
        Ok(self.stream.write_all(&line).await?)
    }
}

/// Who the client is, or an end to it.
async fn let_in(lines: &mut Lines, exchange: &mut Exchange) -> Result<String> {
    let first = lines.next().await?;
    let (mechanism, data) = first.split_once(' ').ok_or("no login")?;
    let mut step = exchange.start(mechanism.as_bytes(), data.as_bytes());
    loop {
        step = match step {
            Step::Challenge(challenge) => {
                lines.say([b"+ ", &challenge[..]].concat()).await?;
                exchange.step(lines.next().await?.as_bytes())
            }
            Step::Work(job) => {
                // Files are read and passwords hashed where no other client has to wait for it.
                #[expect(clippy::disallowed_methods, reason = "here is the clock")]
                let run = move || job.run(SystemTime::now());
                exchange.finish(tokio::task::spawn_blocking(run).await?)
            }
            Step::Done(identity) => return Ok(identity.to_string()),
            Step::Refused(why) => {
                lines.say("NO").await?;
                return Err(why.to_string().into());
            }
            _ => return Err("a step that this program does not know".into()),
        }
    }
}

async fn serve(stream: Stream, tls: &ServerTls, authenticator: &Authenticator) -> Result<()> {
    let mut lines = Lines::new(tls.accept(stream, ClientAuth::None).await?);
    let name = let_in(&mut lines, &mut authenticator.exchange()).await?;
    lines.say(format!("hello {name}")).await
}

async fn ask(address: &ConnectAddr, tls: &ClientTls, password: &str) -> Result<String> {
    let stream = Stream::connect(address).await?;
    let mut lines = Lines::new(tls.connect(stream, "service.example").await?);
    let mut login = Login::choose(b"SCRAM-SHA-256", &[SCRAM], "sammy", password)?;
    let initial = login.initial();
    let first = [login.name().as_bytes(), b" ", &initial].concat();
    lines.say(first).await?;
    loop {
        let line = lines.next().await?;
        match line.strip_prefix("+ ") {
            Some(challenge) => {
                let answer = login.step(challenge.as_bytes())?;
                lines.say(answer).await?;
            }
            // It has proved by now that it knows the password too.
            None if line != "NO" => {
                login.done(b"")?;
                return Ok(line);
            }
            None => return Err("the server says no".into()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // What an operator has: a certificate, here one for this run, and a file of users as
    // `nuthatchd passwd` writes it.
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(["service.example".to_owned()])?;
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let keys = ScramKeys::make(ScramHash::Sha256, b"S3cretPw", ITERATIONS_DEFAULT)?;
    let users = Users::parse(format!("sammy:{keys}\n").as_bytes())
        .map_err(|line| format!("line {line} is no entry"))?;

    let server_tls = ServerTls::builder(&cert).key(&key).load()?;
    let authenticator = Authenticator::builder(users).mechanisms(&[SCRAM]).build()?;
    let client_tls = ClientTls::builder().roots(&cert).build()?;

    let addresses = ListenAddr::parse_list("127.0.0.1:0")?;
    let bound = bind(&addresses, 0, BindOptions::default())?.remove(0);
    let address: ConnectAddr = bound.local().to_string().parse()?;
    let listener = bound.into_listener()?;

    for password in ["S3cretPw", "wrong"] {
        let server = async {
            let stream = listener.accept().await?.into_stream()?;
            serve(stream, &server_tls, &authenticator).await
        };
        let (served, asked) = tokio::join!(server, ask(&address, &client_tls, password));
        match asked {
            Ok(line) => println!("client: {line}"),
            Err(error) => println!("client: {error}"),
        }
        if let Err(error) = served {
            println!("server: {error}");
        }
    }
    Ok(())
}
