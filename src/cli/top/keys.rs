//! What the keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rows::Column;
use super::screen::Screen;

/// What follows from a key, besides another drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Stay,
    /// Details of a node are wanted.
    Open,
    Quit,
}

impl Screen {
    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Stay;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Act::Quit } else { Act::Stay };
        }
        if self.typing {
            self.typed(key.code);
            return Act::Stay;
        }
        let page = self.height.saturating_sub(5).max(1) as isize;
        match key.code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::PageUp => self.go(-page),
            KeyCode::PageDown => self.go(page),
            KeyCode::Home => self.go(isize::MIN),
            KeyCode::End => self.go(isize::MAX),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Left if self.open.is_some() => {
                self.open = None;
            }
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right => return self.opened(),
            _ if self.open.is_some() => {}
            KeyCode::Char('s') => self.sorted(1),
            KeyCode::Char('S') => self.sorted(-1),
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Char('g') => self.gophers = !self.gophers,
            KeyCode::Char('/') => self.typing = true,
            _ => {}
        }
        Act::Stay
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.typing = false;
            }
            _ => {}
        }
    }

    fn sorted(&mut self, by: isize) {
        self.sort = Column::beside(self.sort, by);
        self.reversed = false;
    }

    /// Moves the choice, or scrolls the details.
    fn go(&mut self, by: isize) {
        if self.open.is_some() {
            self.scrolled = self.scrolled.saturating_add_signed(by);
            return;
        }
        let rows = self.rows();
        let to = self.place(&rows).saturating_add_signed(by).min(rows.len().saturating_sub(1));
        self.chosen = rows.get(to).map(|row| row.node.name.clone());
    }

    fn opened(&mut self) -> Act {
        let rows = self.rows();
        let Some(name) = rows.get(self.place(&rows)).map(|row| row.node.name.clone()) else {
            return Act::Stay;
        };
        self.chosen = Some(name.clone());
        self.open = Some((name, None));
        self.scrolled = 0;
        Act::Open
    }
}
