//! Query strings. An unknown key is refused with the ones that are known.

use osmoda_core::{name::AgentName, time::Wall};

use super::{
    limits::{self, SEQ_MAX},
    respond::Problem,
};

/// Which entries are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryQuery {
    /// Only this agent's.
    pub agent: Option<AgentName>,
    /// Only from here on.
    pub since: Option<Since>,
    /// Most entries.
    pub limit: Option<usize>,
    /// Keep the connection and send what comes.
    pub follow: bool,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// At this entry.
    Seq(u64),
    /// At the first entry written then or later.
    Time(Wall),
}

/// Which output is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// Most lines, the newest.
    pub lines: usize,
    /// Of the instance before the latest one.
    pub previous: bool,
    /// Keep the connection and send what comes.
    pub follow: bool,
}

impl EntryQuery {
    /// Reads `agent`, `since` (a number or RFC 3339), `limit` and `follow`.
    ///
    /// # Errors
    /// 400 that names the key and what it takes.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "agent" => wanted.agent = Some(agent(&value)?),
                "since" => wanted.since = Some(since(&value)?),
                "limit" => wanted.limit = Some(number(&key, &value, limits::ENTRIES_MAX)?),
                "follow" => wanted.follow = flag(&key, &value)?,
                _ => return Err(unknown(&key, "agent, since, limit and follow")),
            }
        }
        Ok(wanted)
    }

    /// Reads `from` and `limit`: the raw entries, page by page.
    ///
    /// # Errors
    /// As [`EntryQuery::parse`].
    pub fn parse_page(query: &str) -> Result<(u64, usize), Problem> {
        let (mut from, mut limit) = (0, limits::ENTRIES_DEFAULT);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "from" => {
                    from = entry_number(&value)
                        .ok_or_else(|| bad(&key, &value, "an entry's number"))?
                }
                "limit" => limit = number(&key, &value, limits::ENTRIES_MAX)?,
                _ => return Err(unknown(&key, "from and limit")),
            }
        }
        Ok((from, limit))
    }
}

impl LogQuery {
    /// Reads `lines`, `previous` and `follow`.
    ///
    /// # Errors
    /// 400 that names the key and what it takes.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut wanted = Self {
            lines: limits::LOG_LINES_DEFAULT,
            previous: false,
            follow: false,
        };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "lines" => wanted.lines = number(&key, &value, limits::LOG_LINES_MAX)?,
                "previous" => wanted.previous = flag(&key, &value)?,
                "follow" => wanted.follow = flag(&key, &value)?,
                _ => return Err(unknown(&key, "lines, previous and follow")),
            }
        }
        if wanted.previous && wanted.follow {
            return Err(
                Problem::invalid("the output of an ended instance cannot be followed")
                    .hint("leave out either previous or follow"),
            );
        }
        Ok(wanted)
    }
}

/// Reads `seq`, the number of an entry, which must be there.
///
/// # Errors
/// 400 that says what it takes.
pub fn seq(query: &str) -> Result<u64, Problem> {
    let mut seq = None;
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "seq" => {
                let number = entry_number(&value);
                seq = Some(number.ok_or_else(|| bad(&key, &value, "an entry's number"))?);
            }
            _ => return Err(unknown(&key, "seq")),
        }
    }
    seq.ok_or_else(|| Problem::invalid("this request needs an entry's number").hint("add ?seq=7"))
}

/// A request that takes no query at all.
///
/// # Errors
/// 400 if there is one.
pub fn none(query: &str) -> Result<(), Problem> {
    match query {
        "" => Ok(()),
        _ => Err(Problem::invalid(format!(
            "this request takes no query, but has {query:?}"
        ))),
    }
}

/// A number that an entry can have.
pub fn entry_number(value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| *number <= SEQ_MAX)
}

fn agent(value: &str) -> Result<AgentName, Problem> {
    AgentName::new(value)
        .map_err(|why| Problem::invalid(format!("{value:?} is no name of an agent: it {why}")))
}

fn since(value: &str) -> Result<Since, Problem> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return entry_number(value)
            .map(Since::Seq)
            .ok_or_else(|| bad("since", value, SINCE_FORMS));
    }
    let time: jiff::Timestamp = value
        .parse()
        .map_err(|_| bad("since", value, SINCE_FORMS))?;
    Ok(Since::Time(Wall(time.as_microsecond())))
}

const SINCE_FORMS: &str = "an entry's number or a time such as 2026-01-31T12:00:00Z";

fn number(key: &str, value: &str, max: usize) -> Result<usize, Problem> {
    match value.parse() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(bad(key, value, &format!("a number from 0 to {max}"))),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(key, value, "1 or 0")),
    }
}

fn bad(key: &str, value: &str, wanted: &str) -> Problem {
    Problem::invalid(format!("{key}={value} is not {wanted}"))
}

fn unknown(key: &str, known: &str) -> Problem {
    Problem::invalid(format!("this request has no parameter {key:?}"))
        .hint(format!("it takes {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_can_be_asked_for_by_agent_place_and_time() {
        let query = EntryQuery::parse("agent=a&since=17&limit=5&follow=1").unwrap();
        let expected = EntryQuery {
            agent: Some(AgentName::new("a").unwrap()),
            since: Some(Since::Seq(17)),
            limit: Some(5),
            follow: true,
        };
        assert_eq!(query, expected);
        let time = |text: &str| EntryQuery::parse(&format!("since={text}")).unwrap().since;
        let noon = Some(Since::Time(Wall(1_769_860_800_000_000)));
        assert_eq!(time("2026-01-31T12:00:00Z"), noon);
        assert_eq!(time("2026-01-31T14%3A00%3A00%2B02%3A00"), noon);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let message = |query| EntryQuery::parse(query).unwrap_err().object.message;
        assert_eq!(
            message("limit=5000"),
            "limit=5000 is not a number from 0 to 1000"
        );
        assert_eq!(
            message("since=yesterday"),
            "since=yesterday is not an entry's number or a time such as 2026-01-31T12:00:00Z"
        );
        assert_eq!(message("follow=maybe"), "follow=maybe is not 1 or 0");
        assert_eq!(
            message("agnet=a"),
            "this request has no parameter \"agnet\""
        );
        assert_eq!(
            message("agent=A"),
            "\"A\" is no name of an agent: it contains 'A'; only a-z, 0-9 and '-' are allowed"
        );
        for beyond in ["9223372036854775808", "99999999999999999999"] {
            assert!(EntryQuery::parse(&format!("since={beyond}")).is_err());
            assert!(EntryQuery::parse_page(&format!("from={beyond}")).is_err());
            assert!(seq(&format!("seq={beyond}")).is_err());
        }
        assert_eq!(seq("seq=9223372036854775807"), Ok(SEQ_MAX));
        assert!(none("x=1").is_err());
    }

    #[test]
    fn output_of_an_ended_instance_cannot_be_followed() {
        assert!(LogQuery::parse("previous&follow").is_err());
        let query = LogQuery::parse("lines=3&previous=1").unwrap();
        assert_eq!(
            query,
            LogQuery {
                lines: 3,
                previous: true,
                follow: false
            }
        );
    }
}
