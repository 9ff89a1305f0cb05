//! Entries of the ledger: by agent, by time, and the newest ones.
//!
//! Everything here reads SQLite and so may block: it is called from a blocking thread.

use osmoda_core::{name::AgentName, time::Wall};

use super::{
    limits::{ENTRIES_DEFAULT, ENTRY_BATCH},
    query::{EntryQuery, Since},
    source::EntrySource,
    types::{EntryList, EntryObject},
};

/// Answers a query without `follow`.
///
/// # Errors
/// A sentence for people.
pub fn find(source: &dyn EntrySource, query: &EntryQuery) -> Result<EntryList, String> {
    let size = source.head().size;
    let limit = query.limit.unwrap_or(ENTRIES_DEFAULT);
    let items = match query.since {
        None => source.newest(limit, agent_name(query))?,
        Some(since) => {
            let from = first(source, size, since)?;
            following(source, from, limit, query.agent.as_ref())?
        }
    };
    Ok(EntryList { items, size })
}

/// Where a stream begins: after the entry that a reader saw last, at `since`, or so that the
/// newest `limit` come first (none, if no number is given).
///
/// # Errors
/// A sentence for people.
pub fn start_of_stream(
    source: &dyn EntrySource,
    query: &EntryQuery,
    last_seen: Option<u64>,
) -> Result<u64, String> {
    let size = source.head().size;
    if let Some(seq) = last_seen {
        return Ok(seq.saturating_add(1));
    }
    match query.since {
        Some(since) => first(source, size, since),
        None => {
            let shown = source.newest(query.limit.unwrap_or(0), agent_name(query))?;
            Ok(shown.first().map_or(size, |entry| entry.seq))
        }
    }
}

/// Whether the entry belongs to the agent; without one, every entry does.
pub fn concerns(entry: &EntryObject, agent: Option<&AgentName>) -> bool {
    agent.is_none_or(|name| entry.entry["agent"] == name.as_str())
}

fn agent_name(query: &EntryQuery) -> Option<&str> {
    query.agent.as_ref().map(AgentName::as_str)
}

/// The first entry to be shown. Entries are in the order of their times but for a clock that
/// was set back, so that a search by halves finds a place close to it at worst.
fn first(source: &dyn EntrySource, size: u64, since: Since) -> Result<u64, String> {
    let time = match since {
        Since::Seq(seq) => return Ok(seq),
        Since::Time(time) => time,
    };
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        match source.entries(middle, 1)?.first() {
            Some(entry) if is_before(entry, time) => low = middle + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// `ts` is RFC 3339 in UTC with microseconds, as [`Wall`] is shown: they compare as text.
/// An entry whose body was pruned has no time; it counts as old.
fn is_before(entry: &EntryObject, time: Wall) -> bool {
    entry.entry["ts"]
        .as_str()
        .is_none_or(|ts| ts < time.to_string().as_str())
}

fn following(
    source: &dyn EntrySource,
    from: u64,
    limit: usize,
    agent: Option<&AgentName>,
) -> Result<Vec<EntryObject>, String> {
    let mut found = Vec::new();
    let mut next = from;
    while found.len() < limit {
        let read = source.entries(next, ENTRY_BATCH)?;
        let Some(last) = read.last() else { break };
        next = last.seq + 1;
        found.extend(read.into_iter().filter(|entry| concerns(entry, agent)));
    }
    found.truncate(limit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::Entries;

    fn seqs(query: &str) -> Vec<u64> {
        // 1000 entries, one a second from 1970 on, of the agents a, b and c in turn.
        let source = Entries::of(1000, &["a", "b", "c"]);
        let query = EntryQuery::parse(query).unwrap();
        find(&source, &query)
            .unwrap()
            .items
            .iter()
            .map(|entry| entry.seq)
            .collect()
    }

    #[test]
    fn without_a_start_the_newest_are_shown_oldest_first() {
        assert_eq!(seqs("limit=3"), [997, 998, 999]);
        assert_eq!(seqs("limit=0"), [0; 0]);
        assert_eq!(seqs("").len(), ENTRIES_DEFAULT);
        assert_eq!(seqs("agent=b&limit=3"), [991, 994, 997]);
        assert_eq!(seqs("agent=nobody"), [0; 0]);
        assert_eq!(seqs("agent=a&limit=1000").len(), 334);
    }

    #[test]
    fn with_a_start_the_next_are_shown() {
        assert_eq!(seqs("since=995&limit=3"), [995, 996, 997]);
        assert_eq!(seqs("since=998"), [998, 999]);
        assert_eq!(seqs("since=5000"), [0; 0]);
        assert_eq!(seqs("since=1&agent=a&limit=2"), [3, 6]);
    }

    #[test]
    fn a_start_in_time_is_found_by_halves() {
        assert_eq!(seqs("since=1970-01-01T00:16:37Z"), [997, 998, 999]);
        assert_eq!(seqs("since=1970-01-01T00:00:00Z&limit=1"), [0]);
        assert_eq!(seqs("since=1970-01-01T00:00:00.5Z&limit=1"), [1]);
        assert_eq!(seqs("since=2026-01-01T00:00:00Z"), [0; 0]);
    }

    #[test]
    fn a_stream_begins_after_what_its_reader_has_seen() {
        let source = Entries::of(10, &["a", "b"]);
        let start = |query, last| {
            start_of_stream(&source, &EntryQuery::parse(query).unwrap(), last).unwrap()
        };
        assert_eq!(start("follow=1", None), 10);
        assert_eq!(start("follow=1&limit=3", None), 7);
        assert_eq!(start("follow=1&limit=2&agent=b", None), 7);
        assert_eq!(start("follow=1&since=4", None), 4);
        assert_eq!(start("follow=1&since=4", Some(8)), 9);
    }
}
