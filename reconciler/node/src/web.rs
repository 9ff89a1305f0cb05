//! The HTTP client of anchors and alerts: bounded in time and size, and it goes where it is sent
//! and nowhere else. Its errors never hold a URL, which may be a secret.

use std::time::Duration;

use reqwest::{Body, Client, Method, Response, Url, header::HeaderMap, redirect};

/// What failed, and why: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WebError(pub String);

/// Time to a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Time from the request to the end of the answer.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// Longest answer that is read, in bytes.
pub const ANSWER_MAX: usize = 64 * 1024;

/// An answer, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Media type, without parameters.
    pub media_type: String,
    /// Header Retry-After, as it came (RFC 9110, section 10.2.3).
    pub retry_after: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// Sends a POST and reads the answer. Redirects are not followed.
///
/// # Errors
/// [`WebError`].
pub async fn post(url: Url, headers: HeaderMap, body: impl Into<Body>) -> Result<Answer, WebError> {
    let request = client(&url)?.request(Method::POST, url).headers(headers);
    let sent = request.body(body).send().await;
    let mut response = sent.map_err(|error| told(error, "no answer"))?;
    let body = read(&mut response).await?;
    let header = |name| response.headers().get(name)?.to_str().ok();
    let media_type = header(reqwest::header::CONTENT_TYPE).unwrap_or_default();
    let retry_after = header(reqwest::header::RETRY_AFTER).map(str::to_owned);
    Ok(Answer {
        status: response.status().as_u16(),
        media_type: media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
        retry_after,
        body,
    })
}

fn client(url: &Url) -> Result<Client, WebError> {
    // Only the first one of the process counts; both would be the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        Client::builder()
            .user_agent(concat!("osmoda/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_MAX)
            .timeout(REQUEST_MAX)
            .redirect(redirect::Policy::none())
            // The next request comes long after a connection would have been closed.
            .pool_max_idle_per_host(0)
            .no_proxy()
    };
    let built = match url.scheme() {
        // A host without any certificates can still speak to what asks for none.
        "http" => builder().tls_certs_only([]).build(),
        _ => builder().https_only(true).build(),
    };
    built.map_err(|error| told(error, "no HTTP client"))
}

async fn read(response: &mut Response) -> Result<Vec<u8>, WebError> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        let Some(chunk) = chunk.map_err(|error| told(error, "the answer broke off"))? else {
            return Ok(body);
        };
        if body.len() + chunk.len() > ANSWER_MAX {
            let reason = format!("the answer is longer than {ANSWER_MAX} bytes");
            return Err(WebError(reason));
        }
        body.extend_from_slice(&chunk);
    }
}

/// The error and what caused it, without the URL.
fn told(error: reqwest::Error, what: &str) -> WebError {
    let error = error.without_url();
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let why = match causes.last() {
        _ if error.is_timeout() => "it took too long".to_owned(),
        Some(last) => last.clone(),
        None => error.to_string(),
    };
    WebError(format!("{what}: {why}"))
}

/// Reads a URL of scheme http or https.
///
/// # Errors
/// [`WebError`] that says what is wrong and never what it is.
pub fn parse_url(text: &str) -> Result<Url, WebError> {
    let url = Url::parse(text.trim());
    let url = url.map_err(|error| WebError(format!("it is no URL: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(WebError("its URL is neither http nor https".to_owned())),
    }
}
