//! One HTTP/1.1 connection within its bounds, and an [`super::types::ErrorObject`] also where a
//! request never becomes one.
//!
//! hyper answers a head that it cannot read, or that is too large, by itself and without a body;
//! one that does not arrive in time it leaves unanswered. [`Worded`] puts the object into the
//! former, [`converse`] sends it for the latter.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::{Request, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{
    limits,
    respond::{Answer, Problem},
    stall::Impatient,
};

/// Answers the requests of one connection until its peer is done, or `ending` resolves and the
/// answer under way is complete.
pub(crate) async fn converse<S, F>(
    stream: S,
    respond: impl Fn(Request<Incoming>) -> F,
    ending: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    let io = TokioIo::new(Worded::new(Impatient::new(stream, limits::STALL_MAX)));
    let service = service_fn(|request| {
        let answer = respond(request);
        // Boxed, for hyper hands a connection back only where it may move the answer.
        Box::pin(async move { Ok::<_, Infallible>(answer.await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD_TIME_MAX)
        .max_headers(limits::HEADERS_MAX)
        .max_header_size(limits::HEAD_BYTES_MAX)
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .serve_connection(io, service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = ending => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    let Err(error) = ended else { return };
    tracing::debug!(%error, "a connection ended early");
    let parts = connection.into_parts();
    // A peer that has sent nothing was idle, and has asked for no answer.
    if error.is_timeout() && !parts.read_buf.is_empty() {
        let seconds = limits::HEAD_TIME_MAX.as_secs();
        let late = Problem::too_slow(format!("the head did not arrive within {seconds} s"));
        let mut stream = parts.io.into_inner();
        // Who is that slow may be gone.
        let _ = stream.write_all(&last_answer(&late)).await;
    }
}

/// A whole answer as bytes, after which the connection is closed.
pub(super) fn last_answer(problem: &Problem) -> Vec<u8> {
    // Two texts in an object always serialize.
    let body = serde_json::to_string(&problem.object).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        problem.status,
        body.len()
    );
    (head + &body).into_bytes()
}

/// A stream on which an error without a body gets one.
#[derive(Debug)]
struct Worded<S> {
    stream: S,
    /// What is written in the place of something else.
    instead: Option<Instead>,
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
    /// How many bytes it stands for.
    stands_for: usize,
}

impl<S> Worded<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            instead: None,
        }
    }
}

/// The problem that an answer of hyper's own tells of. Every answer of ours says what type its
/// body has, and JSON and metrics hold no CR: nothing else is both a 4xx head and all there is.
fn own_answer(bytes: &[u8]) -> Option<Problem> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 4")?;
    if !rest.ends_with(b"\r\n\r\n") || rest.len() > limits::HEAD_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(rest).ok()?.to_ascii_lowercase();
    if text.contains("content-type:") {
        return None;
    }
    let most = limits::HEAD_BYTES_MAX / 1024;
    let headers = limits::HEADERS_MAX;
    match text.get(..2)? {
        "00" => Some(
            Problem::invalid("this is no HTTP/1.1 request").hint("see RFC 9112 for what is one"),
        ),
        "14" => Some(Problem {
            status: StatusCode::URI_TOO_LONG,
            ..Problem::head_too_large("the path and query are too long")
        }),
        "31" => Some(
            Problem::head_too_large("the head of the request is too large").hint(format!(
                "at most {most} KiB and {headers} headers are allowed"
            )),
        ),
        _ => None,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Worded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Worded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            let Some(problem) = own_answer(bytes) else {
                return Pin::new(&mut this.stream).poll_write(context, bytes);
            };
            this.instead = Some(Instead {
                bytes: last_answer(&problem),
                written: 0,
                stands_for: bytes.len(),
            });
        }
        while let Some(instead) = &mut this.instead {
            let left = instead.bytes.get(instead.written..).unwrap_or_default();
            if left.is_empty() {
                let stands_for = instead.stands_for;
                this.instead = None;
                return Poll::Ready(Ok(stands_for));
            }
            match ready!(Pin::new(&mut this.stream).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => instead.written += written,
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_words_gets_some() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let found = own_answer(bare).map(|problem| problem.status.as_u16());
        assert_eq!(found, Some(431));
        let ours = Problem::not_found("x").answer();
        assert!(ours.headers().contains_key("content-type"));
        for other in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 431 in a line of some log\n",
        ] {
            assert_eq!(own_answer(other), None);
        }
    }

    #[tokio::test]
    async fn the_words_arrive_whole_through_a_narrow_pipe() {
        use tokio::io::AsyncReadExt;
        let (ours, mut theirs) = tokio::io::duplex(7);
        let mut worded = Worded::new(ours);
        let bare = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        let writing = tokio::spawn(async move { worded.write_all(bare).await });
        let mut read = String::new();
        theirs.read_to_string(&mut read).await.unwrap();
        writing.await.unwrap().unwrap();
        let (head, body) = read.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        let object: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(object["message"], "this is no HTTP/1.1 request");
    }
}
