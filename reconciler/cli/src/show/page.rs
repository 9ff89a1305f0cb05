//! Pages for browsers and printers: one file, no script, nothing fetched from anywhere.
//!
//! The template engine escapes what it is given, so that what agents wrote stays text; a
//! policy in the page forbids whatever is not its own style all the same. Colours follow the
//! reader's preference for dark or light, and paper is always light. Colour never says
//! anything alone: a word or a sign stands beside it.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Style of every page.
const STYLE: &str = include_str!("page/style.css");
/// Nothing but the style in the page itself.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A whole page.
pub fn page(title: &str, body: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                footer { "Written by osmoda " (env!("CARGO_PKG_VERSION")) ". This page is a view; the ledger is the record." }
            }
        }
    };
    page.into_string()
}

/// A figure with its name, for the row at the top of a page.
pub fn figure(name: &str, value: impl std::fmt::Display, tone: Tone) -> Markup {
    html! {
        div class={ "figure " (tone.class()) } {
            dt { (name) }
            dd { (value.to_string()) }
        }
    }
}

/// What a figure or a word is to be taken as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Not as it should be.
    Bad,
    /// Neither.
    Plain,
}

impl Tone {
    /// Its class in the style.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }
}

/// A length of time in microseconds, for people: `850 µs`, `12.4 ms`, `3.20 s`, `5m10s`.
pub fn duration(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..1_000_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        1_000_000..60_000_000 => format!("{}.{:02} s", us / 1_000_000, us % 1_000_000 / 10_000),
        _ => super::age(us / 1000),
    }
}

/// A number with thin gaps between its thousands: `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_write_stays_text_and_nothing_is_fetched() {
        let text = page("<script>", html! { p { "<img src=x onerror=alert(1)>" } });
        assert!(
            !text.contains("<script") && !text.contains("<img"),
            "{text}"
        );
        assert!(text.contains("&lt;img src=x"));
        for way in ["http://", "https://", "src=\"", "@import", "url("] {
            assert!(!text.contains(way), "{way}");
        }
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        let cases = [
            (7, "7 µs"),
            (12_400, "12.4 ms"),
            (3_204_000, "3.20 s"),
            (310_000_000, "5m10s"),
        ];
        for (us, text) in cases {
            assert_eq!(duration(us), text);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        let plain = |n| grouped(n).replace('\u{202f}', " ");
        assert_eq!(
            ["0", "999", "1 000", "1 234 567"],
            [0, 999, 1000, 1_234_567]
                .map(plain)
                .each_ref()
                .map(String::as_str)
        );
    }
}
