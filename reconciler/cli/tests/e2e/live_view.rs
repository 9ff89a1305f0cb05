//! `osmoda top` and `status --watch` on a real terminal: a pseudo-terminal of the kernel's.
//!
//! Only what changed is written to a terminal, so that words are looked for one by one.

use rustix::process::Signal;

use crate::support::{Agent, OnTerminal, Scene, eventually};

/// Switches to the alternate screen, and back (xterm's DECSET and DECRST 1049).
const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";
/// Shows the cursor again (DECTCEM).
const CURSOR: &str = "\u{1b}[?25h";

/// Top on a terminal, and the settings that the terminal had before.
fn top(scene: &Scene) -> (OnTerminal, String) {
    // A program that does nothing shows what the settings are to begin with.
    let untouched = OnTerminal::start(&scene.command("--version"), 80, 24);
    let before = untouched.settings();
    (OnTerminal::start(&scene.command("top"), 80, 24), before)
}

#[track_caller]
fn left_as_it_was(terminal: &OnTerminal, before: &str) {
    let entered = terminal.said().rfind(ENTERED).unwrap();
    // What a program has written to a terminal may arrive after its end.
    terminal.says(LEFT, entered);
    terminal.says(CURSOR, entered);
    assert_eq!(terminal.settings(), before);
}

#[test]
fn top_shows_agents_follows_a_resize_and_leaves_the_terminal_as_it_was() {
    let scene = Scene::with(&[Agent::test("alpha", "sleep"), Agent::test("beta", "sleep")]);
    let _daemon = scene.daemon();
    scene.pid("alpha");
    let (mut terminal, before) = top(&scene);
    let seen = terminal.says("alpha", 0);
    assert_ne!(terminal.settings(), before, "keys come one by one");
    terminal.resize(120, 40);
    // Drawn anew, with the whole heading of a wider table.
    let seen = terminal.says("first)", seen);
    terminal.types("?");
    let seen = terminal.says("asks", seen);
    terminal.types(" d");
    let seen = terminal.says("happens", seen);
    terminal.types("qry");
    terminal.says("restarted", seen);
    scene.entry("the restart is on record", |e| {
        e.is("OperatorCommand", "alpha")
    });
    terminal.types(" q");
    assert_eq!(terminal.ends().code(), Some(0));
    left_as_it_was(&terminal, &before);
}

#[test]
fn top_leaves_the_terminal_as_it_was_when_a_signal_ends_it() {
    let scene = Scene::new();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let (mut terminal, before) = top(&scene);
        terminal.says("AWAY", 0);
        terminal.signal(signal);
        assert_eq!(terminal.ends().code(), Some(0), "{signal:?}");
        left_as_it_was(&terminal, &before);
    }
}

#[test]
fn top_gives_the_terminal_back_while_it_is_stopped() {
    let scene = Scene::new();
    let (mut terminal, before) = top(&scene);
    let mut seen = terminal.says("AWAY", 0);
    for by_key in [true, false] {
        match by_key {
            true => terminal.types("\u{1a}"),
            false => terminal.signal(Signal::TSTP),
        }
        eventually("it is stopped", || {
            let path = format!("/proc/{}/stat", terminal.pid());
            let stat = std::fs::read_to_string(path).ok()?;
            let state = stat.rsplit(") ").next()?.chars().next()?;
            (state == 'T').then_some(())
        });
        left_as_it_was(&terminal, &before);
        terminal.signal(Signal::CONT);
        terminal.says(ENTERED, seen);
        seen = terminal.says("AWAY", seen);
        assert_ne!(terminal.settings(), before);
    }
    terminal.types("q");
    assert_eq!(terminal.ends().code(), Some(0));
    left_as_it_was(&terminal, &before);
}

#[test]
fn top_says_when_the_daemon_goes_and_when_it_is_back() {
    let scene = Scene::with(&[Agent::test("alpha", "sleep")]);
    let daemon = scene.daemon();
    scene.pid("alpha");
    let (terminal, _) = top(&scene);
    let seen = terminal.says("alpha", 0);
    daemon.stops();
    let seen = terminal.says("AWAY", seen);
    let _again = scene.daemon();
    terminal.says("ready", seen);
}

#[test]
fn top_without_a_terminal_names_what_to_use_instead() {
    let scene = Scene::new();
    let ran = scene.osmoda("top").exits(2);
    assert_eq!(ran.out, "");
    assert!(ran.err.contains("draws on a terminal"), "{}", ran.err);
    assert!(ran.err.contains("osmoda status --watch"), "{}", ran.err);
}

#[test]
fn who_watches_on_a_terminal_ends_it_with_an_interrupt_and_no_failure() {
    let scene = Scene::with(&[Agent::test("alpha", "sleep")]);
    let _daemon = scene.daemon();
    scene.pid("alpha");
    let mut terminal = OnTerminal::start(&scene.command("status --watch"), 80, 24);
    let seen = terminal.says("Ctrl-C", 0);
    scene.osmoda("pause alpha --reason look").exits(0);
    terminal.says("Paused", seen);
    terminal.types("\u{3}");
    assert_eq!(terminal.ends().code(), Some(0));
    let said = terminal.said();
    assert!(!said.contains(ENTERED), "a plain terminal keeps its lines");
}
