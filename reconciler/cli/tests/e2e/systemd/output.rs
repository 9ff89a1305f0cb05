//! `osmoda logs` over the journal.

use super::Host;
use crate::support::{Agent, kill};

#[test]
#[ignore = "needs systemd as PID 1"]
fn logs_are_of_a_run_and_can_be_followed_from_run_to_run() {
    let host = Host::new();
    let script = "echo \"$OSMODA_AGENT begins $$\"; echo oops >&2; echo; echo end; exec sleep 1000";
    host.declare(&Agent::script("a", script));
    let _daemon = host.units();
    let pid = host.pid("a");
    let said = host.said("a", "end");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "journald keeps no empty lines: {said}");
    assert!(
        lines[0].starts_with("a begins ") && lines[1] == "oops",
        "{said}"
    );
    assert_eq!(host.osmoda("logs a -n 1").exits(0).out, "end\n");

    let followed = host.follow("logs a -f -n 1");
    assert_eq!(followed.line_with("end"), "end");
    kill(pid);
    host.other_pid("a", pid);
    let begins = followed.line_with("begins");
    assert_ne!(begins, lines[0]);
    let again = host.said("a", "end");
    assert!(
        again.starts_with(&begins),
        "only of the latest run: {again}"
    );
    assert_eq!(host.osmoda("logs a --previous").exits(0).out, said);
    let described = host.osmoda("describe a").exits(0).out;
    assert!(described.contains("oops"), "its last words: {described}");
    host.osmoda("logs nobody").exits(2);
}

#[test]
#[ignore = "needs systemd as PID 1"]
fn output_that_is_no_text_or_without_end_is_shown_all_the_same() {
    let host = Host::new();
    let script = "printf 'bin\\377\\n'; printf 'cut'; exec sleep 1000";
    host.declare(&Agent::script("a", script));
    let _daemon = host.units();
    let pid = host.pid("a");
    let said = host.said("a", "bin");
    assert_eq!(said.lines().next(), Some("bin\u{fffd}"));
    kill(pid);
    host.other_pid("a", pid);
    let previous = crate::support::eventually("the cut line", || {
        let previous = host.osmoda("logs a --previous").out;
        previous.contains("cut").then_some(previous)
    });
    assert_eq!(previous.lines().last(), Some("cut"));
}
