//! A TCP connection that is accepted, and closed at once.

use osmoda_core::probe::Answer;
use tokio::net::TcpStream;

use super::AskError;

pub(super) async fn ask(host: &str, port: u16) -> Result<Answer, AskError> {
    connect(host, port).await.map(|_| Answer::Success)
}

/// Connects to `host`, a name or an address (also one of IPv6 in brackets), trying every address
/// that the name has.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, AskError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let connected = TcpStream::connect((bare, port)).await;
    connected.map_err(|source| AskError::Connect {
        address: format!("{host}:{port}"),
        source,
    })
}
