//! `top`: a live table of a run's nodes.

mod feed;
mod keys;
mod rows;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};

use clap::Args;
use gopherworks::supervision::clock::Clock;
use ratatui::crossterm::event::Event;
use tokio::sync::mpsc::{Receiver, channel};

use self::feed::{Update, Watcher};
use self::keys::Act;
use self::screen::Screen;
use self::terminal::{Shown, endings, events};
use super::remote::{Remote, RemoteArgs, in_runtime};
use super::{Failed, code, print};

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Print one table and end, as without a terminal; shares are then of the time since the start
    #[arg(long)]
    once: bool,
}

/// Keys, for the help.
pub const KEYS: &str = "Keys:
  up, down, page up, page down, home, end   select a node
  enter, esc                                show its failures and events; go back
  s, S                                      sort by the next column, by the one before
  r                                         reverse the order
  /                                         show only nodes with a text in their row
  g                                         show or hide gophers
  q                                         quit

busy, blocked and idle are shares of the last second: in steps, works and burns; waiting for space
or for the incinerator; waiting for books. The node in bold limits the rate.";

/// Shows the nodes of a run until `q`, or once without a terminal.
pub fn top(args: &TopArgs) -> Result<i32, Failed> {
    let remote = Remote::new(&args.remote.url, &args.remote.access)?;
    in_runtime(async {
        // Before the terminal is changed, so that a mistake is printed as usual.
        let (watcher, first) = Watcher::connect(remote).await?;
        let mut screen = Screen::default();
        screen.take(first);
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if args.once || is_dumb || !io::stdout().is_terminal() {
            print::text(view::plain(&screen, print::width(false)).trim_end(), false)?;
            return Ok(code::OK);
        }
        follow(watcher, screen).await
    })
}

/// Draws whenever something has changed, until `q` or a signal.
async fn follow(watcher: Watcher, mut screen: Screen) -> Result<i32, Failed> {
    let broken = |error: io::Error| Failed::new(format!("error: the terminal: {error}"));
    let mut ending = endings().map_err(broken)?;
    let colors = print::color_on_stdout();
    let mut shown = Shown::new().map_err(broken)?;
    let (say, updates) = channel(16);
    let details = say.clone();
    let remote = watcher.remote();
    tokio::spawn(watcher.run(say));
    let mut input = Input { events: events().map_err(broken)?, updates };
    loop {
        screen.height = shown.draw(|frame| view::draw(frame, &screen, colors)).map_err(broken)?;
        let ask = tokio::select! {
            biased;
            code = ending.recv() => return Ok(code.unwrap_or(code::OK)),
            next = input.next() => match next {
                Some(Next::Event(Event::Key(key))) => match screen.press(key) {
                    Act::Quit => return Ok(code::OK),
                    Act::Open => true,
                    Act::Stay => false,
                },
                Some(Next::Event(_)) => false,
                Some(Next::Update(Update::Snapshot(now))) => {
                    screen.take(*now);
                    true
                }
                Some(Next::Update(Update::Detail(detail))) => {
                    screen.show(*detail);
                    false
                }
                Some(Next::Update(Update::Broken(why))) => {
                    screen.problem = Some(why);
                    false
                }
                // The terminal is gone.
                None => return Ok(code::FAILED),
            },
        };
        if let Some(node) = screen.wanted().filter(|_| ask) {
            tokio::spawn(feed::detail(remote.clone(), node.to_owned(), details.clone()));
        }
    }
}

/// What the screen waits for.
struct Input {
    events: Receiver<io::Result<Event>>,
    updates: Receiver<Update>,
}

enum Next {
    Event(Event),
    Update(Update),
}

impl Input {
    async fn next(&mut self) -> Option<Next> {
        tokio::select! {
            biased;
            event = self.events.recv() => event?.ok().map(Next::Event),
            update = self.updates.recv() => update.map(Next::Update),
        }
    }
}

/// Time that `feed` waits before it connects again.
async fn pause() {
    Clock::real().sleep(std::time::Duration::from_secs(1)).await;
}
