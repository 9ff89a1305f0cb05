//! `osmoda ledger anchor`: how far each anchor has come, and what it was given.

use osmoda_ledger::{
    Reader,
    anchor::{AnchorState, STATE_PREFIX, read_all},
};
use osmoda_node::error::chain;

use super::ledger::chosen;
use crate::{
    args::{Anchor, Global},
    failure::{Answer, Failure, Outcome},
    output,
    show::{self, or_dash, to_seconds},
};

/// Lists the anchors, or prints the note of one.
pub fn anchor(global: &Global, args: &Anchor) -> Outcome {
    let path = chosen(global, args.file.path.clone())?;
    let unreadable = |error| {
        Failure::internal(format!(
            "cannot read the ledger {}: {}",
            path.display(),
            chain(&error)
        ))
    };
    let reader = Reader::open(&path).map_err(unreadable)?;
    let anchors = read_all(&reader.state(STATE_PREFIX).map_err(unreadable)?);
    if let Some(name) = &args.name {
        return output::print(note(&anchors, name)?).map(|()| Answer::Yes);
    }
    match args.output.output {
        Some(format) => output::object(format, &anchors)?,
        None => output::print(&list(&anchors))?,
    }
    Ok(Answer::Yes)
}

/// The checkpoint that the only anchor whose name begins so has taken.
fn note<'a>(anchors: &'a [AnchorState], name: &str) -> Result<&'a str, Failure> {
    let mut named = anchors
        .iter()
        .filter(|anchor| anchor.name.starts_with(name));
    let (Some(anchor), None) = (named.next(), named.next()) else {
        return Err(
            Failure::usage(format!("{name:?} names no anchor, or several"))
                .hint("`osmoda ledger anchor` lists them; the beginning of a name is enough"),
        );
    };
    match &anchor.last {
        Some(last) => Ok(&last.note),
        None => Err(Failure::new(
            crate::failure::NO,
            format!("{} has taken no checkpoint yet", anchor.name),
        )),
    }
}

fn list(anchors: &[AnchorState]) -> String {
    if anchors.is_empty() {
        return "no anchors: the node's spec names none, or none was tried yet\n".to_owned();
    }
    let row = |anchor: &AnchorState| {
        let last = anchor.last.as_ref();
        let state = match &anchor.failing {
            None => "works".to_owned(),
            Some(failing) => {
                let what = if failing.fork {
                    "ANOTHER HISTORY"
                } else {
                    "failing"
                };
                format!(
                    "{what} since {}: {}",
                    to_seconds(&failing.since),
                    failing.reason
                )
            }
        };
        vec![
            anchor.name.clone(),
            or_dash(last.map(|last| last.size)),
            or_dash(last.map(|last| to_seconds(&last.at))),
            state,
        ]
    };
    let rows = anchors.iter().map(row).collect();
    show::table(&["ANCHOR", "ENTRIES", "TAKEN", "STATE"], rows)
}

#[cfg(test)]
mod tests {
    use osmoda_core::digest::Digest;
    use osmoda_ledger::anchor::{Anchored, Failing};

    use super::*;

    fn sample() -> Vec<AnchorState> {
        let mut works = AnchorState::new("directory /mnt/a");
        works.last = Some(Anchored {
            size: 12,
            root: Digest::of(b""),
            at: "2026-01-31T12:00:00.000000Z".to_owned(),
            note: "the note\n".to_owned(),
        });
        let mut fails = AnchorState::new("witness w at http://w");
        fails.failing = Some(Failing {
            since: "2026-01-31T12:00:00.000000Z".to_owned(),
            reason: "no answer".to_owned(),
            fork: false,
        });
        vec![works, fails]
    }

    #[test]
    fn the_list_says_how_far_each_is() {
        let expected = "\
ANCHOR                 ENTRIES  TAKEN                 STATE
directory /mnt/a       12       2026-01-31T12:00:00Z  works
witness w at http://w  -        -                     failing since 2026-01-31T12:00:00Z: no answer
";
        assert_eq!(list(&sample()), expected);
    }

    #[test]
    fn a_note_is_printed_of_the_one_that_is_meant() {
        let anchors = sample();
        assert_eq!(note(&anchors, "directory"), Ok("the note\n"));
        assert_eq!(note(&anchors, "witness").unwrap_err().code, 1);
        assert_eq!(note(&anchors, "").unwrap_err().code, 2);
    }
}
