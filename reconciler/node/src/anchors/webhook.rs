//! A webhook: it is sent every checkpoint as the signed note that it is.
//!
//! POST, `text/plain`, the note as body. `Osmoda-Checkpoint: ORIGIN SIZE` tells a receiver which
//! it is (the same one may come twice), `Osmoda-Signature: NAME BASE64` is the log's own
//! signature line of the note (C2SP signed-note), so that a receiver that knows the node's
//! public key can check who sent it. Any 2xx means "kept".

use std::{fs, io::Read as _};

use osmoda_runtime::blocking::spawn_blocking;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use super::log::{AnchorError, Offer};
use crate::web;

/// Longest URL in its file, in bytes.
const URL_MAX: u64 = 8 * 1024;

/// Sends the checkpoint. Gives the note that was sent.
///
/// # Errors
/// [`AnchorError`].
pub async fn anchor(url_file: &str, offer: &Offer) -> Result<String, AnchorError> {
    let path = url_file.to_owned();
    // Read afresh each time, so that a new URL needs no restart.
    let read = spawn_blocking(move || read_url(&path)).await;
    let text = read.map_err(|_| AnchorError::passing("reading the URL ended in a panic"))??;
    let url = web::parse_url(&text)
        .map_err(|error| AnchorError::passing(format!("{url_file}: {error}")))?;
    let note = offer.signed.note.clone();
    let answer = web::post(url, headers(offer), note.clone()).await?;
    match answer.status {
        200..=299 => Ok(note),
        300..=399 => Err(AnchorError::passing(format!(
            "the webhook answered {}: redirects are not followed",
            answer.status
        ))),
        status => Err(AnchorError::passing(format!(
            "the webhook answered {status}"
        ))),
    }
}

fn read_url(path: &str) -> Result<String, AnchorError> {
    let failed = |error| AnchorError::passing(format!("cannot read {path}: {error}"));
    let file = fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(URL_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn headers(offer: &Offer) -> HeaderMap {
    let checkpoint = &offer.signed.checkpoint;
    let mut headers = HeaderMap::new();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    let mut add = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add(
        "osmoda-checkpoint",
        format!("{} {}", checkpoint.origin, checkpoint.size),
    );
    // The line without the dash that it begins with, which no header may hold.
    let lines = offer.signed.note.lines().rev();
    let signature = lines
        .filter_map(|line| line.strip_prefix("\u{2014} "))
        .next();
    add("osmoda-signature", signature.unwrap_or_default().to_owned());
    headers
}
