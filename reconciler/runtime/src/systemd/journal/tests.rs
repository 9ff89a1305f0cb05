//! The parts that need no journal.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use super::*;

fn end(lines: usize, bytes: usize, pieces: &[&str]) -> Vec<String> {
    let mut end = End::new(lines, bytes);
    pieces.iter().for_each(|piece| end.take(piece.as_bytes()));
    end.lines()
}

#[test]
fn the_end_of_a_text_is_kept_within_both_bounds_however_it_comes() {
    assert_eq!(end(2, 100, &["a\nb\nc\n"]), ["b", "c"]);
    assert_eq!(end(9, 100, &["on", "e\ntw", "o"]), ["one", "two"]);
    assert_eq!(end(9, 5, &["aaaa\nbb\nc\n"]), ["bb", "c"]);
    assert_eq!(end(9, 100, &[]), [""; 0]);
    let long = "x".repeat(LINE_BYTES_MAX) + "end\n";
    let kept = end(9, usize::MAX, &[&long]);
    assert!(kept[0].ends_with("xend") && kept[0].len() == LINE_BYTES_MAX - 1);
}

#[test]
fn the_last_lines_that_fit_are_given() {
    let lines = || ["aaa", "bb", "c"].map(str::to_owned).to_vec();
    assert_eq!(within(lines(), 2, 100), ["bb", "c"]);
    assert_eq!(within(lines(), 9, 5), ["bb", "c"]);
    assert_eq!(within(lines(), 9, 4), ["c"]);
    assert_eq!(within(lines(), 0, 100), [""; 0]);
}

#[test]
fn a_note_of_pid_1_names_the_run() {
    let note = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1","INVOCATION_ID":"0102030405060708090a0b0c0d0e0f10"}"#;
    let parsed: Started = serde_json::from_str(note).unwrap();
    assert_eq!(parsed.cursor, "s=1;i=2");
    let ManagerId(run) = parsed.run;
    assert_eq!(run.to_string(), "0102030405060708090a0b0c0d0e0f10");
}
