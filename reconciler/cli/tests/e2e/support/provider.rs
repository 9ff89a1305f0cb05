//! A provider of alerts on this machine, over HTTPS: it takes messages, or does what goes wrong.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Answers with this status.
    Answer(u16),
    /// Answers 429 and asks to wait for so many seconds.
    TooMany(u32),
    /// Sends elsewhere.
    Redirect,
    /// Reads the request and closes without an answer.
    Close,
    /// Reads the request and never answers.
    Hang,
}

/// A request that it read.
#[derive(Debug, Clone)]
pub struct Taken {
    pub act: Act,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Taken {
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }
}

#[derive(Default)]
struct Play {
    next: VecDeque<Act>,
    always: Option<Act>,
    taken: Vec<Taken>,
    hanging: Vec<TcpStream>,
}

/// A server that runs until the test ends.
pub struct Provider {
    port: u16,
    authority: PathBuf,
    play: Arc<Mutex<Play>>,
}

impl Provider {
    /// With a certificate authority of its own, whose certificate lies in `place`.
    pub fn begin(place: &Path) -> Self {
        let authority = place.join("authority.pem");
        let config = Arc::new(certified(&authority));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let play = Arc::<Mutex<Play>>::default();
        let shared = Arc::clone(&play);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, shared) = (Arc::clone(&config), Arc::clone(&shared));
                // A client that goes away in the middle is what some tests are about.
                thread::spawn(move || converse(stream, config, &shared).ok());
            }
        });
        Self {
            port,
            authority,
            play,
        }
    }

    /// The certificate that a client has to trust.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/hook/sesame", self.port)
    }

    /// The next requests get these, one each; then all is well.
    pub fn next(&self, acts: &[Act]) {
        let mut play = lock(&self.play);
        play.always = None;
        play.next = acts.iter().copied().collect();
    }

    /// Every request gets this.
    pub fn always(&self, act: Act) {
        lock(&self.play).always = Some(act);
    }

    /// Every request, in order.
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.play).taken.clone()
    }

    /// Those that were answered with 2xx.
    pub fn accepted(&self) -> Vec<Taken> {
        let mut taken = self.taken();
        taken.retain(|one| matches!(one.act, Act::Answer(200..=299)));
        taken
    }
}

fn lock(play: &Mutex<Play>) -> MutexGuard<'_, Play> {
    play.lock().unwrap()
}

fn certified(place: &Path) -> ServerConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(place, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap()
}

fn converse(stream: TcpStream, config: Arc<ServerConfig>, play: &Mutex<Play>) -> io::Result<()> {
    let kept = stream.try_clone()?;
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(session, stream));
    let (headers, body) = read(&mut reader)?;
    let act = {
        let mut play = lock(play);
        let act = play.always.or(play.next.pop_front());
        let act = act.unwrap_or(Act::Answer(202));
        play.taken.push(Taken { act, headers, body });
        act
    };
    let answer = match act {
        Act::Answer(status) => format!("HTTP/1.1 {status} Said\r\n"),
        Act::TooMany(seconds) => format!("HTTP/1.1 429 Slow\r\nretry-after: {seconds}\r\n"),
        Act::Redirect => "HTTP/1.1 307 There\r\nlocation: https://localhost/\r\n".to_owned(),
        Act::Close => return Ok(()),
        Act::Hang => {
            lock(play).hanging.push(kept);
            // It stays open for as long as the client bears it.
            return reader.read_to_end(&mut Vec::new()).map(drop);
        }
    };
    let stream = reader.get_mut();
    stream
        .write_all(format!("{answer}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}

type Request = (Vec<(String, String)>, Value);

fn read(reader: &mut impl io::BufRead) -> io::Result<Request> {
    let mut headers = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line)?;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((headers, serde_json::from_slice(&body).unwrap_or_default()))
}
