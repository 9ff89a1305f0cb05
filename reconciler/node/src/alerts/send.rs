//! One try: read the secrets, write the request, send it, and tell what the answer means.

use std::{future::Future, pin::Pin, time::Duration};

use osmoda_core::{
    alert::Change,
    spec::{Alert, AlertProvider, Severity},
};
use osmoda_runtime::blocking::spawn_blocking;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::{
    format::{self, Outgoing, Verdict},
    item::{Item, in_key},
    outbox::Outbox,
    secrets,
    status::AlertTest,
};
use crate::web::{self, Answer};

/// Longest time of one try.
pub const TRY_MAX: Duration = Duration::from_secs(25);

/// An answer, or in one line why there is none.
pub type Carried<'a> = Pin<Box<dyn Future<Output = Result<Answer, String>> + Send + 'a>>;

/// The way to providers. A test has one of its own.
pub trait Carrier: Send + Sync + 'static {
    /// Sends a POST.
    fn post(&self, request: Outgoing) -> Carried<'_>;
}

/// The real way: HTTPS, or HTTP where the URL says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

impl Carrier for Http {
    fn post(&self, request: Outgoing) -> Carried<'_> {
        Box::pin(async move {
            let url = web::parse_url(&request.url).map_err(|error| error.0)?;
            let mut headers = HeaderMap::new();
            for (name, value) in &request.headers {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| format!("the {name} header cannot be sent: is a key broken?"))?;
                value.set_sensitive(true);
                headers.insert(HeaderName::from_static(name), value);
            }
            let answer = web::post(url, headers, request.body).await;
            answer.map_err(|error| error.0)
        })
    }
}

/// Sends a message once.
pub async fn attempt(
    outbox: &Outbox,
    carrier: &dyn Carrier,
    alert: &Alert,
    item: &Item,
) -> Verdict {
    let scrubber = outbox.scrubber.clone();
    let of = alert.clone();
    let secrets = spawn_blocking(move || secrets::read(&of, &scrubber)).await;
    let secrets = secrets.unwrap_or_else(|_| Err("reading its files ended in a panic".to_owned()));
    let request = secrets.and_then(|secrets| {
        let now = outbox.clock.wall();
        format::request(alert, &secrets, &scrubbed(item, outbox), now)
    });
    let answer = match request {
        Ok(request) => timeout(TRY_MAX, carrier.post(request))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TRY_MAX.as_secs()))),
        Err(why) => Err(why),
    };
    let clean = |why: String| outbox.scrubber.scrub(&why).into_owned();
    // Whole, before a part of it is repeated: a part of a secret would not be known as one.
    let answer = answer.map(|answer| Answer {
        body: clean(String::from_utf8_lossy(&answer.body).into_owned()).into_bytes(),
        ..answer
    });
    match answer.map(|answer| format::judge(alert.provider, &answer, outbox.clock.wall())) {
        Ok(Verdict::Delivered) => Verdict::Delivered,
        Ok(Verdict::Refused(why)) => Verdict::Refused(clean(why)),
        Ok(Verdict::Later(why, asked)) => Verdict::Later(clean(why), asked),
        Err(why) => Verdict::Later(clean(why), None),
    }
}

/// Once more: a secret may have become known while the message waited.
fn scrubbed(item: &Item, outbox: &Outbox) -> Item {
    let clean = |text: &String| outbox.scrubber.scrub(text).into_owned();
    let mut item = item.clone();
    item.title = clean(&item.title);
    item.output = item.output.iter().map(clean).collect();
    for (_, value) in &mut item.facts {
        *value = clean(value);
    }
    item
}

/// Sends a test message, and on a pager closes it again; both within [`TRY_MAX`].
pub async fn test(outbox: &Outbox, carrier: &dyn Carrier, alert: &Alert) -> AlertTest {
    let tested = timeout(TRY_MAX, send_test(outbox, carrier, alert)).await;
    let late =
        |_: tokio::time::error::Elapsed| Err(format!("no answer within {} s", TRY_MAX.as_secs()));
    AlertTest::of(alert, tested.unwrap_or_else(late))
}

async fn send_test(outbox: &Outbox, carrier: &dyn Carrier, alert: &Alert) -> Result<(), String> {
    let mut item = message(outbox, "Test", "node: this is a test of osmoda's alerts");
    let pages = matches!(
        alert.provider,
        AlertProvider::PagerDuty | AlertProvider::Opsgenie
    );
    let changes: &[Change] = match pages {
        true => &[Change::Trigger, Change::Resolve],
        false => &[Change::Note],
    };
    for change in changes {
        item.change = *change;
        item.id = Item::id_of(&item.key, *change, item.at);
        let verdict = attempt(outbox, carrier, alert, &item).await;
        if let Verdict::Refused(why) | Verdict::Later(why, _) = verdict {
            return Err(why);
        }
    }
    Ok(())
}

/// A note of the node itself.
pub fn message(outbox: &Outbox, kind: &str, title: &str) -> Item {
    let at = outbox.clock.wall();
    let key = format!("osmoda/{}/{kind}/{}", in_key(outbox.node()), at.0);
    Item {
        id: Item::id_of(&key, Change::Note, at),
        lane: key.clone(),
        key,
        change: Change::Note,
        severity: Severity::Info,
        kind: kind.to_owned(),
        node: outbox.node().to_owned(),
        agent: None,
        incident: None,
        title: title.to_owned(),
        facts: Vec::new(),
        output: Vec::new(),
        at,
        counted: None,
        tries: 0,
        refusals: 0,
        last_error: None,
    }
}
