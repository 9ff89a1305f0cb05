//! GET over HTTP: the status code decides.
//!
//! As in Kubernetes (pkg/probe/http): a redirect to the same host is followed, at most
//! [`REDIRECTS_MAX`] times; one to another host is not, its own status is judged, and a success
//! says so. A redirect that `expect` asks for is not followed either. Of the body
//! [`BODY_MAX`] bytes are read; one that breaks off before is a failure.

use std::collections::BTreeMap;

use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{ACCEPT, CONNECTION, HOST, HeaderName, LOCATION, USER_AGENT},
};
use osmoda_core::probe::Answer;

use super::{
    AskError,
    location::{Place, resolve},
    wire::{self, Reply, Target, exchange},
};

/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 10;
/// Most bytes of a body that are read.
const BODY_MAX: usize = 10 * 1024;

/// Asks, following redirects.
pub(super) async fn ask(
    mut target: Target,
    path: &str,
    headers: &BTreeMap<String, String>,
    expect: (u16, u16),
) -> Result<Answer, AskError> {
    let mut path = path.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let request = request(&target, &path, headers)?;
        let enough = |_: &_, body: &[u8]| body.len() >= BODY_MAX;
        let reply = exchange(&target, request, enough).await?;
        let Some(location) = location(&reply, expect)? else {
            return judge(&reply, expect).map(|()| Answer::Success);
        };
        match resolve(&target, &path, location) {
            Some(Place::Here(next, next_path)) => (target, path) = (next, next_path),
            Some(Place::Elsewhere(host)) => {
                judge(&reply, expect)?;
                let status = reply.status.as_u16();
                let said = format!("HTTP {status} to {host}, another host, which was not asked");
                return Ok(Answer::Warning(said));
            }
            None => {
                let what = format!("a redirect to what is no address: {location}");
                return Err(AskError::Unwell(what));
            }
        }
    }
    let what = format!("more than {REDIRECTS_MAX} redirects");
    Err(AskError::Unwell(what))
}

/// The spec's headers replace the prober's own; an empty value leaves out `Accept` and
/// `User-Agent`.
fn request(
    target: &Target,
    path: &str,
    headers: &BTreeMap<String, String>,
) -> Result<Request<Full<Bytes>>, AskError> {
    let request = Request::get(path).body(Full::default());
    let mut request = request.map_err(AskError::Request)?;
    let own = request.headers_mut();
    let set = |text: &str| text.parse().map_err(invalid);
    own.insert(HOST, set(&target.authority())?);
    own.insert(USER_AGENT, set(wire::USER_AGENT)?);
    own.insert(ACCEPT, set("*/*")?);
    own.insert(CONNECTION, set("close")?);
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(invalid)?;
        if value.is_empty() && [ACCEPT, USER_AGENT].contains(&name) {
            own.remove(name);
        } else {
            own.insert(name, set(value)?);
        }
    }
    Ok(request)
}

fn invalid(error: impl Into<hyper::http::Error>) -> AskError {
    AskError::Request(error.into())
}

/// Where a redirect that is to be followed leads.
fn location(reply: &Reply, expect: (u16, u16)) -> Result<Option<&str>, AskError> {
    let redirects = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::SEE_OTHER,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    let is_asked_for = expect.0 >= 300 && expect.1 < 400;
    let location = reply.headers.get(LOCATION);
    match location.filter(|_| redirects.contains(&reply.status) && !is_asked_for) {
        None => Ok(None),
        Some(value) => value
            .to_str()
            .map(Some)
            .map_err(|_| AskError::Unwell("a redirect to what is no text".to_owned())),
    }
}

fn judge(reply: &Reply, expect: (u16, u16)) -> Result<(), AskError> {
    let (first, last) = expect;
    if (first..=last).contains(&reply.status.as_u16()) {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&reply.body);
    let status = format!("HTTP {}", reply.status);
    Err(AskError::Unwell(match body.trim() {
        "" => status,
        body => format!("{status}: {body}"),
    }))
}
