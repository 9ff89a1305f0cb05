//! A view that panics, on a pseudo-terminal: this test program, started once more, is the view.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::tcgetattr,
};

use super::*;

/// The name of the test below, for the test program.
const VIEW: &str = "top::screen::tests::a_view_that_panics";

#[test]
#[ignore = "is run on a terminal by the test below"]
fn a_view_that_panics() {
    let mut screen = Screen::take().unwrap();
    screen.draw(|_| {}).unwrap();
    panic!("the roof is on fire");
}

/// Starts it; what held the terminal's end for it is gone afterwards.
fn start_view(terminal: &OwnedFd) -> Child {
    let end = || Stdio::from(terminal.try_clone().unwrap());
    let mut view = Command::new("setsid");
    view.arg("--ctty").arg(std::env::current_exe().unwrap());
    view.args(["--exact", VIEW, "--ignored", "--nocapture"]);
    view.env("TERM", "xterm-256color");
    let view = view.stdin(end()).stdout(end()).stderr(end());
    view.spawn().unwrap()
}

#[test]
fn a_panic_gives_the_terminal_back_before_its_message_is_printed() {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap());
    let theirs: OwnedFd = theirs.unwrap().into();
    let settings = || format!("{:?}", tcgetattr(&theirs).unwrap());
    let before = settings();
    let mut view = start_view(&theirs);
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        // Fails when nobody holds the other end any more.
        let _ = File::from(ours).read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = view.wait().unwrap();
    assert_eq!(
        status.code(),
        Some(101),
        "the test program tells of a failed test"
    );
    assert_eq!(settings(), before);
    drop(theirs); // the last one: the reader comes to its end
    let said = reader.join().unwrap();
    let place = |words: &str| said.find(words).expect(words);
    assert!(place("\u{1b}[?1049h") < place("\u{1b}[?1049l"));
    assert!(place("\u{1b}[?1049l") < place("the roof is on fire"));
    assert!(place("\u{1b}[?25h") < place("the roof is on fire"));
}
