//! What keys do: from a key and the model to a change of the model, or a wish.
//!
//! A dialog takes every key first, then a page, then the table. Ctrl-C ends the view anywhere.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Act, Ask, Dialog, FILTER_MAX, Model, Page, Wish};

/// Rows that page up and page down go in the table.
const TABLE_PAGE: isize = 10;

impl Model {
    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Wish::Quit),
                KeyCode::Char('z') => Some(Wish::Suspend),
                KeyCode::Char('l') => Some(Wish::Redraw),
                _ => None,
            };
        }
        match (&self.dialog, &self.page) {
            (Some(_), _) => self.key_of_dialog(key.code),
            (None, Some(_)) => self.key_of_page(key.code),
            (None, None) => self.key_of_table(key.code),
        }
    }

    fn key_of_dialog(&mut self, key: KeyCode) -> Option<Wish> {
        match self.dialog.clone()? {
            Dialog::Filter => self.type_filter(key),
            // An act that was asked for cannot be taken back: its answer is awaited.
            Dialog::Waiting(_) => {}
            Dialog::Confirm(act) if matches!(key, KeyCode::Char('y' | 'Y')) => {
                self.dialog = Some(Dialog::Waiting(act.clone()));
                return Some(Wish::Act(act));
            }
            Dialog::Confirm(_) | Dialog::Help | Dialog::Answer { .. } => self.dialog = None,
        }
        None
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.dialog = None,
            KeyCode::Esc => {
                self.filter.clear();
                self.dialog = None;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.chars().count() < FILTER_MAX => self.filter.push(c),
            _ => {}
        }
        self.keep_selection();
    }

    fn key_of_page(&mut self, key: KeyCode) -> Option<Wish> {
        let rows = self.page_rows;
        let page = self.page.as_mut()?;
        let last = page.lines.as_ref().map_or(0, Vec::len).saturating_sub(rows);
        page.top = match key {
            KeyCode::Esc | KeyCode::Char('q' | 'h') | KeyCode::Left => {
                self.page = None;
                return None;
            }
            KeyCode::Up | KeyCode::Char('k') => page.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => page.top + 1,
            KeyCode::PageUp => page.top.saturating_sub(rows),
            KeyCode::PageDown | KeyCode::Char(' ') => page.top + rows,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return self.key_of_table(key),
        }
        .min(last);
        page.follows = matches!(page.of, Ask::Logs(_)) && page.top == last;
        None
    }

    fn key_of_table(&mut self, key: KeyCode) -> Option<Wish> {
        match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc if self.filter.is_empty() => return Some(Wish::Quit),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-TABLE_PAGE),
            KeyCode::PageDown => self.step(TABLE_PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => {
                self.page = None;
                self.dialog = Some(Dialog::Filter);
            }
            KeyCode::Char('?') => self.dialog = Some(Dialog::Help),
            KeyCode::Enter | KeyCode::Char('d') => return self.open(Ask::Describe),
            KeyCode::Char('l') => return self.open(Ask::Logs),
            KeyCode::Char('r') => self.confirm(Act::Restart),
            KeyCode::Char('b') => self.confirm(Act::Rollback),
            KeyCode::Char('p') => self.confirm_pause(),
            _ => {}
        }
        None
    }

    fn open(&mut self, ask: impl Fn(String) -> Ask) -> Option<Wish> {
        let name = self.chosen()?.metadata.name.clone();
        let ask = ask(name);
        self.page = Some(Page {
            of: ask.clone(),
            lines: None,
            top: 0,
            follows: matches!(ask, Ask::Logs(_)),
        });
        Some(Wish::Ask(ask))
    }

    fn confirm(&mut self, act: impl Fn(String) -> Act) {
        let name = self.chosen().map(|agent| agent.metadata.name.clone());
        self.dialog = name.map(|name| Dialog::Confirm(act(name)));
    }

    fn confirm_pause(&mut self) {
        let paused = self
            .chosen()
            .is_some_and(|agent| agent.status.phase == osmoda_core::status::Phase::Paused);
        match paused {
            true => self.confirm(Act::Resume),
            false => self.confirm(Act::Pause),
        }
    }
}
