//! The terminal: taken over, and given back as it was.
//!
//! Invariant: whoever holds a [`Screen`] gives the terminal back when it is dropped, and a panic
//! gives it back before its message is printed, so that it can be read. The settings that are
//! put back are those that were found, whatever they were.

use std::{
    io::{self, IsTerminal as _, Stdout, Write as _},
    panic,
    sync::atomic::{AtomicBool, Ordering},
};

use crossterm::{
    cursor::{Hide, Show},
    execute,
    terminal::{self, EnterAlternateScreen, LeaveAlternateScreen},
};
use ratatui::{Frame, Terminal, backend::CrosstermBackend};
use rustix::process::{Signal, getpid, kill_process};

use crate::failure::Failure;

/// Whether the terminal is ours at the moment.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, while it is ours.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Exit code 2 if standard input or output is no terminal.
    pub fn take() -> Result<Self, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Err(Failure::usage(
                "`osmoda top` draws on a terminal, and standard input or output is none",
            )
            .hint("use `osmoda status --watch`, or `osmoda status -o json` in a script"));
        }
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return Err(
                Failure::usage("`osmoda top` cannot draw on a terminal of type \"dumb\"")
                    .hint("use `osmoda status --watch`"),
            );
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).map_err(unusable)?;
        let mut screen = Self { terminal };
        screen.enter().map_err(unusable)?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        terminal::enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        self.wipe()
    }

    /// `Terminal::clear` asks the terminal where its cursor is, and some never answer.
    fn wipe(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(view).map(|_| ()).map_err(unusable)
    }

    /// Everything is drawn anew at the next drawing.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn clear(&mut self) -> Result<(), Failure> {
        self.wipe().map_err(unusable)
    }

    /// Gives the terminal back, stops as the shell's job, and takes it again when continued.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn suspend(&mut self) -> Result<(), Failure> {
        give_back();
        // This call returns when somebody sends SIGCONT.
        kill_process(getpid(), Signal::STOP).map_err(|error| unusable(error.into()))?;
        self.enter().map_err(unusable)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Puts the terminal back as it was found; does nothing a second time.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // A terminal that is gone has nothing to be put back.
    let mut out = io::stdout();
    let _ = execute!(out, Show, LeaveAlternateScreen);
    let _ = terminal::disable_raw_mode();
    let _ = out.flush();
}

fn unusable(error: io::Error) -> Failure {
    Failure::internal(format!("the terminal cannot be used: {error}"))
}

#[cfg(test)]
#[path = "screen/tests.rs"]
mod tests;
