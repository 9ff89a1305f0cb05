//! A witness: it cosigns a checkpoint that grew out of the last one it cosigned (C2SP
//! tlog-witness, add-checkpoint). What counts is not its answer but its signature.

use osmoda_ledger::{
    note::{Note, Signature, VerifierKey},
    witness::Request,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::log::{AnchorError, Offer};
use crate::web::{self, Answer};

/// Most requests for one checkpoint: what is asked again is only asked with a better old size.
const ROUNDS_MAX: usize = 3;

/// Asks for a cosignature. `known` is the size of the checkpoint that the witness cosigned last,
/// as far as this node remembers. Gives the note with the cosignatures added.
///
/// # Errors
/// [`AnchorError`]; a fork if the witness knows another history.
pub async fn anchor(
    url: &str,
    key: &str,
    known: Option<u64>,
    offer: &Offer,
) -> Result<String, AnchorError> {
    let key: VerifierKey = key
        .parse()
        .map_err(|error| AnchorError::passing(format!("the witness's key: {error}")))?;
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let url = web::parse_url(&url)?;
    let mut old = known.unwrap_or(0);
    for _ in 0..ROUNDS_MAX {
        let body = request(offer, old).await?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        let answer = web::post(url.clone(), headers, body).await?;
        match judge(&answer)? {
            Judged::Cosigned => return cosigned(offer, &answer, key),
            Judged::KnowsSize(size) if size == old => {
                let reason = "the witness contradicts itself about the size that it knows";
                return Err(AnchorError::passing(reason));
            }
            Judged::KnowsSize(size) => old = size,
        }
    }
    Err(AnchorError::passing(
        "the witness's size changes with every request",
    ))
}

async fn request(offer: &Offer, old: u64) -> Result<String, AnchorError> {
    let size = offer.size();
    if old > size {
        return Err(AnchorError::fork(format!(
            "the witness has cosigned {old} entries, this log has {size}: it was cut, or is an \
             old copy"
        )));
    }
    let proof = offer.consistency(old).await?;
    let malformed = |error: &dyn std::error::Error| AnchorError::passing(error.to_string());
    let note = Note::parse(offer.signed.note.as_bytes()).map_err(|error| malformed(&error))?;
    let request = Request::new(old, proof, note).map_err(|error| malformed(&error))?;
    Ok(request.to_string())
}

enum Judged {
    Cosigned,
    /// The witness has cosigned so many entries.
    KnowsSize(u64),
}

fn judge(answer: &Answer) -> Result<Judged, AnchorError> {
    let refused = |reason: &str| Err(AnchorError::passing(reason));
    match answer.status {
        200 => Ok(Judged::Cosigned),
        409 => {
            let text = str::from_utf8(&answer.body).unwrap_or_default();
            let size = text.strip_suffix('\n').and_then(|size| size.parse().ok());
            match size.filter(|_| answer.media_type == "text/x.tlog.size") {
                Some(size) => Ok(Judged::KnowsSize(size)),
                None => refused("the witness answered 409 without the size that it knows"),
            }
        }
        422 => Err(AnchorError::fork(
            "the witness says that this checkpoint did not grow out of the one it cosigned",
        )),
        404 => refused(
            "the witness does not watch this log; give it the key that `osmoda ledger key` prints",
        ),
        403 => refused(
            "the witness does not trust the key of this log; give it the one that `osmoda ledger key` prints",
        ),
        status => Err(AnchorError::passing(format!(
            "the witness answered {status}"
        ))),
    }
}

/// The note with those lines of the answer that the witness's key has really signed.
fn cosigned(offer: &Offer, answer: &Answer, key: VerifierKey) -> Result<String, AnchorError> {
    let text = str::from_utf8(&answer.body).unwrap_or_default();
    let lines = text.lines().filter_map(Signature::parse_line);
    let note = |error: osmoda_ledger::note::NoteError| AnchorError::passing(error.to_string());
    let mut whole = Note::parse(offer.signed.note.as_bytes()).map_err(note)?;
    let mut added = Note::new(whole.text()).map_err(note)?;
    for line in lines.filter(|line| key.is_named_by(line)) {
        added.add(line.clone()).map_err(note)?;
        whole.add(line).map_err(note)?;
    }
    let keys = [key];
    let verified = added.verify(&keys).map_err(|error| {
        AnchorError::passing(format!(
            "the witness's answer is no cosignature of its key: {error}"
        ))
    })?;
    match verified
        .iter()
        .all(|one| one.timestamp.is_some_and(|at| at > 0))
    {
        true => Ok(whole.to_string()),
        false => Err(AnchorError::passing(
            "the witness's cosignature has no time",
        )),
    }
}
