//! Probes: what is asked, and how often. Field names and defaults are those of the contract,
//! meanings those of Kubernetes.

use std::collections::BTreeMap;

use super::{
    reader::{Fields, Reader, Slot},
    text,
};
use crate::spec::{
    Probe, ProbeCheck, Probes, Scheme,
    error::{SpecError, SpecErrorKind},
    limits,
    tree::Value,
};

const CHECKS: [&str; 4] = ["httpGet", "tcpSocket", "exec", "mcp"];
const PROBE: [&str; 10] = [
    "httpGet",
    "tcpSocket",
    "exec",
    "mcp",
    "initialDelay",
    "period",
    "retryInterval",
    "timeout",
    "successThreshold",
    "failureThreshold",
];

/// Where probes connect to unless told otherwise.
const DEFAULT_HOST: &str = "127.0.0.1";
/// Status codes that count as success unless told otherwise.
const DEFAULT_EXPECT: (u16, u16) = (200, 399);

impl Reader {
    pub(super) fn probes(&mut self, slot: &Slot<'_>) -> Probes {
        let fields = self.fields(slot, &["startup", "readiness", "liveness"]);
        Probes {
            startup: self.optional(&fields, "startup", Self::probe),
            readiness: self.optional(&fields, "readiness", Self::probe),
            liveness: self.optional(&fields, "liveness", Self::probe),
        }
    }

    pub(super) fn probe(&mut self, slot: &Slot<'_>) -> Option<Probe> {
        let fields = self.fields(slot, &PROBE);
        self.exactly_one(&fields, &CHECKS, "httpGet: {port: 8080}");
        let http = self.optional(&fields, "httpGet", Self::http_get);
        let tcp = self.optional(&fields, "tcpSocket", Self::tcp_socket);
        let exec = self.optional(&fields, "exec", Self::exec);
        let mcp = self.optional(&fields, "mcp", Self::mcp);
        let mut duration =
            |name, range| self.optional(&fields, name, |reader, slot| reader.duration(slot, range));
        let initial_delay = duration("initialDelay", &limits::PROBE_DELAY);
        let period = duration("period", &limits::PROBE_INTERVAL);
        let retry_interval = duration("retryInterval", &limits::PROBE_INTERVAL);
        let timeout = duration("timeout", &limits::PROBE_TIMEOUT);
        let mut threshold = |name| {
            self.optional(&fields, name, |reader, slot| {
                reader.integer(slot, &limits::PROBE_THRESHOLD)
            })
        };
        let success_threshold = threshold("successThreshold");
        let failure_threshold = threshold("failureThreshold");
        let default = Probe::new(http.or(tcp).or(exec).or(mcp)?);
        Some(Probe {
            initial_delay: initial_delay.unwrap_or(default.initial_delay),
            period: period.unwrap_or(default.period),
            retry_interval: retry_interval.unwrap_or(default.retry_interval),
            timeout: timeout.unwrap_or(default.timeout),
            success_threshold: success_threshold.unwrap_or(default.success_threshold),
            failure_threshold: failure_threshold.unwrap_or(default.failure_threshold),
            check: default.check,
        })
    }

    /// Notes it if none or several of `names` are given.
    pub(super) fn exactly_one(
        &mut self,
        fields: &Fields<'_>,
        names: &[&'static str],
        example: &str,
    ) {
        if !fields.is_map() {
            return;
        }
        let given: Vec<&'static str> = names
            .iter()
            .copied()
            .filter(|name| fields.has(name))
            .collect();
        if given.len() == 1 {
            return;
        }
        let all = super::reader::alternatives(names);
        let reason = match given.as_slice() {
            [] => format!("needs one of {all}"),
            several => format!("has {}; give exactly one of {all}", several.join(" and ")),
        };
        let kind = SpecErrorKind::Conflict { reason };
        let error = SpecError::new(kind, fields.path(), fields.heading());
        self.note(error.hint(format!("write for example {example}")));
    }

    fn http_get(&mut self, slot: &Slot<'_>) -> Option<ProbeCheck> {
        let known = ["host", "port", "path", "scheme", "headers", "expect"];
        let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
        let fields = self.fields(slot, &known);
        let host = self.optional(&fields, "host", Self::host);
        let port = self.port(&fields);
        let path = self.optional(&fields, "path", Self::url_path);
        let scheme = self.optional(&fields, "scheme", |reader, slot| {
            reader.choice(slot, &schemes)
        });
        let headers = self.group(&fields, "headers", Self::headers);
        let expect = self.optional(&fields, "expect", Self::status_codes);
        Some(ProbeCheck::HttpGet {
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            port: port?,
            path: path.unwrap_or_else(|| "/".to_owned()),
            scheme: scheme.unwrap_or_default(),
            headers,
            expect: expect.unwrap_or(DEFAULT_EXPECT),
        })
    }

    fn tcp_socket(&mut self, slot: &Slot<'_>) -> Option<ProbeCheck> {
        let fields = self.fields(slot, &["host", "port"]);
        let host = self.optional(&fields, "host", Self::host);
        Some(ProbeCheck::TcpSocket {
            port: self.port(&fields)?,
            host: host.unwrap_or_else(|| DEFAULT_HOST.to_owned()),
        })
    }

    fn exec(&mut self, slot: &Slot<'_>) -> Option<ProbeCheck> {
        let fields = self.fields(slot, &["command"]);
        let example = ("command", "[/bin/true]");
        let command = self.required(&fields, example, Self::argv)?;
        Some(ProbeCheck::Exec { command })
    }

    fn mcp(&mut self, slot: &Slot<'_>) -> Option<ProbeCheck> {
        let fields = self.fields(slot, &["url"]);
        let example = ("url", "http://127.0.0.1:8080/mcp");
        let url = self.required(&fields, example, Self::http_url)?;
        Some(ProbeCheck::Mcp { url })
    }

    fn port(&mut self, fields: &Fields<'_>) -> Option<u16> {
        self.required(fields, ("port", "8080"), |reader, slot| {
            reader.integer(slot, &limits::PORT)
        })
    }

    fn url_path(&mut self, slot: &Slot<'_>) -> Option<String> {
        let path = self.text(slot, limits::MAX_URL_BYTES)?;
        if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
            self.invalid(slot, "must begin with '/' and have visible ASCII only");
            return None;
        }
        Some(path.to_owned())
    }

    fn headers(&mut self, slot: &Slot<'_>) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for (key, slot) in self.entries(slot) {
            if !text::is_header_name(&key.text) {
                let rule = "is not the name of an HTTP header".to_owned();
                let kind = SpecErrorKind::Invalid { rule };
                self.note(SpecError::new(kind, &slot.path, key.span));
            }
            let Some(value) = self.text(&slot, limits::MAX_URL_BYTES) else {
                continue;
            };
            if !text::is_header_value(value) {
                self.invalid(&slot, "must have visible ASCII and spaces only");
            }
            headers.insert(key.text.clone(), value.to_owned());
        }
        headers
    }

    /// `204`, or a range with both ends included: `200-399`.
    fn status_codes(&mut self, slot: &Slot<'_>) -> Option<(u16, u16)> {
        if matches!(slot.tree.value, Value::Int(_)) {
            let code = self.integer(slot, &limits::HTTP_STATUS)?;
            return Some((code, code));
        }
        let text = self.text(slot, limits::MAX_LABEL_BYTES)?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.parse().ok();
        match (code(first), code(last)) {
            (Some(first), Some(last))
                if first <= last
                    && limits::HTTP_STATUS.contains(&first)
                    && limits::HTTP_STATUS.contains(&last) =>
            {
                Some((first, last))
            }
            _ => {
                self.invalid(
                    slot,
                    "must be status codes from 100 to 599, such as 200-399",
                );
                None
            }
        }
    }
}
