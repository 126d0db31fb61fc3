//! The terminal: its keys, its screen, and the signals that end the command.

use std::io;

use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

/// The alternate screen. Dropping it restores the terminal; a panic does so as well, before its
/// message.
pub struct Shown(DefaultTerminal);

impl Shown {
    pub fn new() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    /// Draws, and gives the number of rows of the terminal.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<usize> {
        let drawn = self.0.draw(draw)?;
        Ok(usize::from(drawn.area.height))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys and changes of size, read by a thread that ends with the process.
pub fn events() -> io::Result<Receiver<io::Result<Event>>> {
    let (say, heard) = channel(16);
    std::thread::Builder::new().name("gopherworks-keys".to_owned()).spawn(move || {
        loop {
            let read = event::read();
            let is_over = read.is_err();
            if say.blocking_send(read).is_err() || is_over {
                return;
            }
        }
    })?;
    Ok(heard)
}

/// Signals that end the command, as exit codes. Ctrl-C is a key here.
pub fn endings() -> io::Result<Receiver<i32>> {
    let (say, heard) = channel(1);
    for kind in
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()]
    {
        let mut signals = signal(kind)?;
        let say = say.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                let _ = say.send(128 + kind.as_raw_value()).await;
            }
        });
    }
    Ok(heard)
}
