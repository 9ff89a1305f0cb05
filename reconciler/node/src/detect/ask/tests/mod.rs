//! Against real servers on loopback that answer well, badly, or not at all.

mod against_http;
mod against_mcp;
mod server;

use std::time::Duration;

use osmoda_core::probe::Answer;
use tokio::time::timeout;

use super::{AskError, judge};

/// What comes of asking in this time.
async fn in_time(
    limit: Duration,
    asking: impl Future<Output = Result<Answer, AskError>>,
) -> Answer {
    judge(timeout(limit, asking).await, limit)
}
