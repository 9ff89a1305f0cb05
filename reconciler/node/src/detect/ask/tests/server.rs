//! A server on loopback that answers each request as it is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

/// How a request is answered.
#[derive(Clone)]
pub enum Answer {
    /// With these bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// With these bytes, and then these again and again.
    Endless(Vec<u8>, Vec<u8>),
    /// With these bytes, one a millisecond, and then nothing more.
    Drip(Vec<u8>),
    /// Not at all; the connection stays open.
    Never,
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

/// A whole answer with this status, header lines and body.
pub fn reply(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::from(&*format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))
}

/// A server; it ends with this.
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves what `answer` says to each request (its head and body).
    pub async fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (answer, heard) = (Arc::new(answer), Arc::clone(&requests));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut stream = stream;
                    let Some(request) = read(&mut stream).await else {
                        return;
                    };
                    heard.lock().unwrap().push(request.clone());
                    write(stream, answer(&request)).await;
                });
            }
        });
        Self {
            port,
            requests,
            serving,
        }
    }

    /// Always the same.
    pub async fn saying(answer: Answer) -> Self {
        Self::new(move |_| answer.clone()).await
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A server that speaks TLS with a certificate for a name that nobody asks for; its port.
pub async fn secure(answer: Answer) -> u16 {
    // Made for these tests, by `openssl req -x509`; valid until 2126, and known to everybody.
    let certificate = CertificateDer::from_slice(include_bytes!("other.example.cert.der"));
    let key = PrivateKeyDer::try_from(&include_bytes!("other.example.key.der")[..]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return; // no TLS
                };
                if read(&mut stream).await.is_some() {
                    write(stream, answer).await;
                }
            });
        }
    });
    port
}

/// A request with its body; `None`: the caller has gone.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lengths = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= lengths.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
    }
}

/// Errors mean that the caller has heard enough.
async fn write(mut stream: impl AsyncWrite + Unpin, answer: Answer) {
    match answer {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Answer::Endless(first, again) => {
            let _ = stream.write_all(&first).await;
            while stream.write_all(&again).await.is_ok() {}
        }
        Answer::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::future::pending().await
        }
        Answer::Never => std::future::pending().await,
    }
}
