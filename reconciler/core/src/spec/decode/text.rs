//! Rules for texts: paths, names of variables, users, hosts and labels.
//!
//! Each rule is a pure predicate with its source; the reader turns a `false` into a sentence.

use super::reader::{Reader, Slot};
use crate::{
    name::AgentName,
    spec::{
        error::{SpecError, SpecErrorKind},
        limits,
        tree::{Key, Span},
    },
};

/// Variables that osmoda sets for every agent.
pub const RESERVED_VARIABLES: [&str; 6] = [
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "NOTIFY_SOCKET",
    "OSMODA_AGENT",
    "OSMODA_GENERATION",
    "WATCHDOG_USEC",
];

impl Reader {
    /// An absolute path. The text is not repeated in messages: it may be a misplaced secret.
    pub(super) fn absolute_path(&mut self, slot: &Slot<'_>) -> Option<String> {
        let path = self.text(slot, limits::MAX_PATH_BYTES)?;
        if !path.starts_with('/') {
            self.invalid(slot, "must be an absolute path");
            return None;
        }
        Some(path.to_owned())
    }

    /// An agent's name.
    pub(super) fn agent_name(&mut self, slot: &Slot<'_>) -> Option<AgentName> {
        let text = self.text(slot, limits::MAX_ARGUMENT_BYTES)?;
        match AgentName::new(text) {
            Ok(name) => Some(name),
            Err(error) => {
                let found = text.to_owned();
                let kind = SpecErrorKind::Name { found, error };
                self.note(SpecError::new(kind, &slot.path, slot.tree.span));
                None
            }
        }
    }

    /// The name of an environment variable that osmoda does not set itself.
    pub(super) fn variable_name(&mut self, name: &str, path: &str, span: Span) -> bool {
        let kind = if RESERVED_VARIABLES.contains(&name) {
            let name = name.to_owned();
            SpecErrorKind::Reserved { name }
        } else if !is_variable_name(name) {
            let rule = "is not a variable's name: letters, digits and _, no digit first";
            SpecErrorKind::Invalid { rule: rule.into() }
        } else {
            return true;
        };
        self.note(SpecError::new(kind, path, span));
        false
    }

    /// A user's or group's name, or its number as text.
    pub(super) fn account(&mut self, slot: &Slot<'_>) -> Option<String> {
        let name = self.text(slot, limits::MAX_USER_NAME_BYTES)?;
        if !is_account(name) {
            self.invalid(slot, "is not the name of a user or group");
            return None;
        }
        Some(name.to_owned())
    }

    /// A host name or IP address.
    pub(super) fn host(&mut self, slot: &Slot<'_>) -> Option<String> {
        let host = self.text(slot, limits::MAX_HOST_BYTES)?;
        if !is_host(host) {
            self.invalid(slot, "is not a host name or an IP address");
            return None;
        }
        Some(host.to_owned())
    }

    /// An absolute http or https URL.
    pub(super) fn http_url(&mut self, slot: &Slot<'_>) -> Option<String> {
        let url = self.text(slot, limits::MAX_URL_BYTES)?;
        if !is_http_url(url) {
            self.invalid(slot, "must be a URL such as http://127.0.0.1:8080/mcp");
            return None;
        }
        Some(url.to_owned())
    }

    /// Labels by the rules of Kubernetes.
    pub(super) fn label(&mut self, key: &Key, slot: &Slot<'_>) -> Option<(String, String)> {
        let key_is_good = is_label_key(&key.text);
        if !key_is_good {
            let rule = "is not a label's key: [PREFIX/]NAME, a NAME of at most 63 letters, \
                        digits, '-', '_' and '.' with a letter or digit at both ends";
            let kind = SpecErrorKind::Invalid { rule: rule.into() };
            self.note(SpecError::new(kind, &slot.path, key.span));
        }
        let value = self.text(slot, limits::MAX_LABEL_BYTES)?;
        if !value.is_empty() && !is_label_name(value) {
            let rule = "must have letters, digits, '-', '_' and '.' only, with a letter or digit \
                        at both ends";
            self.invalid(slot, rule);
            return None;
        }
        key_is_good.then(|| (key.text.clone(), value.to_owned()))
    }
}

/// POSIX.1-2017, 3.235 Name.
fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.len() <= limits::MAX_FILE_NAME_BYTES
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The relaxed rule of systemd (systemd.io/USER_NAMES) without spaces.
fn is_account(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/'))
}

/// RFC 1123 host name (underscores tolerated), IPv4 or IPv6 address.
fn is_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok() || is_dns_name(host)
}

fn is_dns_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !part.is_empty() && part.len() <= 63 && part.bytes().all(allowed) && !part.starts_with('-')
    };
    name.len() <= limits::MAX_HOST_BYTES && name.split('.').all(is_part)
}

/// RFC 3986, no user information, a host, visible ASCII only.
fn is_http_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.is_empty()
        && !authority.starts_with(':')
        && !authority.contains('@')
        && url.bytes().all(|b| b.is_ascii_graphic())
}

/// A node's name: it becomes part of the ledger's origin, which has no space and no plus sign.
pub(super) fn is_node_name(name: &str) -> bool {
    is_dns_name(name)
}

/// The name of a file, as systemd wants it of a credential: ASCII without control characters.
pub(super) fn is_credential_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= limits::MAX_FILE_NAME_BYTES
        && !name.starts_with('.')
        && name.bytes().all(allowed)
}

/// A field name of HTTP: a token (RFC 9110 section 5.6.2).
pub(super) fn is_header_name(name: &str) -> bool {
    let symbol = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || symbol(b))
}

/// A field value of HTTP: visible ASCII, spaces and tabs (RFC 9110 section 5.5).
pub(super) fn is_header_value(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b.is_ascii_graphic() || b == b' ' || b == b'\t')
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_label_prefix(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// A DNS subdomain in lower case (RFC 1123).
fn is_label_prefix(prefix: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty()
            && part.bytes().all(allowed)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    prefix.len() <= limits::MAX_LABEL_PREFIX_BYTES && prefix.split('.').all(is_part)
}

fn is_label_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let at_edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= limits::MAX_LABEL_BYTES
        && bytes.iter().copied().all(allowed)
        && at_edge(bytes.first())
        && at_edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(rule(text), "{text:?} should be accepted");
        }
        for text in bad {
            assert!(!rule(text), "{text:?} should be refused");
        }
    }

    #[test]
    fn names_of_variables_are_those_of_posix() {
        check(
            is_variable_name,
            &["A", "_", "PATH", "a1_b"],
            &["", "1A", "A-B", "A=B", "Ä"],
        );
    }

    #[test]
    fn labels_follow_kubernetes() {
        let long = "a".repeat(64);
        check(
            is_label_key,
            &["team", "osmoda.dev/team", "a_b.c-d", "A1"],
            &[
                "",
                "-a",
                "a-",
                "a/b/c",
                "/a",
                "a/",
                "Big.dev/a",
                "a b",
                &long,
            ],
        );
        check(is_label_name, &["a", "1.2_3"], &["", ".", "a.", "ä", &long]);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        check(
            is_host,
            &["localhost", "127.0.0.1", "::1", "a-b.example.org"],
            &["", "-a", "a..b", "a b", "http://a", "a:80"],
        );
    }

    #[test]
    fn urls_are_http_with_a_host() {
        check(
            is_http_url,
            &["http://a", "https://a:1/mcp?x=1", "http://[::1]:80/"],
            &[
                "",
                "a",
                "ftp://a",
                "http://",
                "http:///x",
                "http://:80",
                "http://u@a",
                "http://a b",
            ],
        );
    }

    #[test]
    fn credentials_and_accounts_are_safe_as_file_names_and_users() {
        check(
            is_credential_name,
            &["OPENAI_API_KEY", "token.txt", "a"],
            &["", ".", "..", "a/b", ".hidden", "a b", "ä"],
        );
        check(
            is_account,
            &["alice", "_svc", "1000", "build-1"],
            &["", "-x", "a b", "a:b", "a/b", ".."],
        );
    }

    #[test]
    fn headers_cannot_smuggle_lines() {
        check(
            is_header_name,
            &["Accept", "x-y"],
            &["", "a b", "a:", "a\n"],
        );
        check(is_header_value, &["", "a b"], &["a\r\nb", "ä"]);
    }
}
