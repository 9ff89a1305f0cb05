//! A connection that is kept, and made anew when the daemon has let go of it.

use http_body_util::Full;
use hyper::{
    Method,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time::timeout};

use super::{ANSWER_TIME_MAX, Client, Refusal, request_of, unreachable};

/// One connection for many requests, one at a time.
pub struct Session {
    client: Client,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Session {
    /// Will connect when it is first asked for something.
    pub fn new(client: Client) -> Self {
        Self { client, open: None }
    }

    /// GET.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Refusal> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Refusal> {
        self.ask(Method::POST, path, body).await
    }

    /// A request is sent once: whether one that was lost on the way was acted on is not known.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, Refusal> {
        let mut kept = self.open.take();
        if let Some(open) = &mut kept
            && open.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(open) => open,
            None => self.connect().await?,
        };
        let request = request_of(method, path, body);
        let exchange = async {
            let sent = sender.send_request(request).await;
            let answer = sent.map_err(|error| Refusal::Failed(self.client.lost(&error)))?;
            let answer = self.client.accepted(answer).await?;
            self.client.read(answer).await
        };
        let answer = timeout(ANSWER_TIME_MAX, exchange).await;
        let answer = answer.map_err(|_| Refusal::Failed(self.client.silent()))?;
        self.open = Some(sender);
        answer
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Refusal> {
        let connected = UnixStream::connect(&self.client.socket).await;
        let stream =
            connected.map_err(|error| Refusal::Failed(unreachable(&self.client.socket, &error)))?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| Refusal::Failed(self.client.lost(&error)))?;
        // Ends when the daemon lets go of it; the sender is not ready any more then.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
