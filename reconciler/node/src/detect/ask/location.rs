//! Where a redirect leads: a URI reference resolved against the one that was asked (RFC 3986
//! section 5.2).

use hyper::Uri;
use osmoda_core::spec::Scheme;

use super::wire::Target;

/// Where a redirect leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To the same host, perhaps at another port or by another scheme: whom and which path.
    Here(Target, String),
    /// To another one.
    Elsewhere(String),
}

/// `None`: the reference is malformed.
pub(super) fn resolve(base: &Target, path: &str, reference: &str) -> Option<Place> {
    let (reference, _fragment) = reference.split_once('#').unwrap_or((reference, ""));
    let scheme = match base.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    if reference.starts_with("//") {
        return absolute(base, &format!("{scheme}:{reference}"));
    }
    if has_scheme(reference) {
        return absolute(base, reference);
    }
    let (directory, query) = path.split_once('?').unwrap_or((path, ""));
    let merged = match reference.chars().next() {
        None if query.is_empty() => directory.to_owned(),
        None => path.to_owned(),
        Some('/') => reference.to_owned(),
        Some('?') => format!("{directory}{reference}"),
        Some(_) => {
            let end = directory.rfind('/').map_or(0, |slash| slash + 1);
            format!("/{}{reference}", directory[..end].trim_start_matches('/'))
        }
    };
    Some(Place::Here(base.clone(), without_dots(&merged)))
}

fn has_scheme(reference: &str) -> bool {
    let first = reference.split(['/', '?']).next().unwrap_or_default();
    first.contains(':')
}

/// Host, port, scheme and path of an absolute `http` or `https` URL; `None` for others.
pub(super) fn parse(url: &str) -> Option<(Target, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = match uri.scheme_str()? {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let port = uri.port_u16().unwrap_or(Target::default_port(scheme));
    let target = Target::new(scheme, uri.host()?, port);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some((target, path.to_owned()))
}

fn absolute(base: &Target, url: &str) -> Option<Place> {
    let Some((target, path)) = parse(url) else {
        let uri: Uri = url.parse().ok()?;
        uri.scheme()?; // another one
        return Some(Place::Elsewhere(uri.host()?.to_owned()));
    };
    Some(match target.host.eq_ignore_ascii_case(&base.host) {
        true => Place::Here(target, path),
        false => Place::Elsewhere(target.host),
    })
}

/// A path without its `.` and `..` segments (RFC 3986 section 5.2.4); the query stays.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(""); // a directory stays one
        }
    }
    let path = format!("/{}", kept.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Target {
        Target::new(Scheme::Http, "127.0.0.1", 8080)
    }

    fn lands(path: &str, reference: &str) -> String {
        match resolve(&base(), path, reference) {
            Some(Place::Here(target, path)) if target == base() => path,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_relative_reference_is_resolved_against_the_path_that_was_asked() {
        assert_eq!(lands("/a/b?x=1", "/c"), "/c");
        assert_eq!(lands("/a/b?x=1", "c?y=2"), "/a/c?y=2");
        assert_eq!(lands("/a/b?x=1", "?y=2"), "/a/b?y=2");
        assert_eq!(lands("/a/b?x=1", ""), "/a/b?x=1");
        assert_eq!(lands("/a/b/c", "../d"), "/a/d");
        assert_eq!(lands("/a/b/c", "../../../../d"), "/d");
        assert_eq!(lands("/a/b/c", "./"), "/a/b/");
        assert_eq!(lands("/a/b/c", ".."), "/a/");
        assert_eq!(lands("/", "healthz#part"), "/healthz");
        assert_eq!(lands("/", "http://127.0.0.1:8080/x?y"), "/x?y");
        assert_eq!(lands("/", "//127.0.0.1:8080"), "/");
    }

    #[test]
    fn the_same_host_is_here_at_any_port_and_scheme() {
        let https = Target::new(Scheme::Https, "127.0.0.1", 443);
        let found = resolve(&base(), "/", "https://127.0.0.1/x");
        assert_eq!(found, Some(Place::Here(https, "/x".to_owned())));
        let v6 = Target::new(Scheme::Http, "[::1]", 8080);
        let found = resolve(&v6, "/", "http://[::1]:8080/x");
        assert_eq!(found, Some(Place::Here(v6, "/x".to_owned())));
    }

    #[test]
    fn another_host_or_scheme_is_elsewhere_and_garbage_is_nowhere() {
        let elsewhere = |reference| resolve(&base(), "/", reference);
        for reference in ["http://example.org/x", "//example.org", "ftp://example.org"] {
            let expected = Some(Place::Elsewhere("example.org".to_owned()));
            assert_eq!(elsewhere(reference), expected, "{reference}");
        }
        for reference in ["http://", "http://a b/", "://", "mailto:someone"] {
            assert_eq!(elsewhere(reference), None, "{reference}");
        }
    }
}
