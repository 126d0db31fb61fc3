use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::feed::{Detail, Snapshot};
use super::keys::Act;
use super::rows::Column;
use super::screen::Screen;
use super::view;

/// A run with a pile, a busy crew of two gophers, a paused incinerator and a balancer.
fn run(at_s: f64) -> Value {
    let why = "the server said: come back when there is space on the disk";
    let failure = json!({ "reason": why, "first": "book 7", "count": 12, "at_s": 3.0 });
    let haul = json!({
        "name": "haul", "kind": "crew", "state": "running", "books": 4_200, "per_s": 412.4,
        "carts": 525, "waits": 31, "restarts": 3, "busy_s": 0.8 * at_s, "idle_s": 0.05 * at_s,
        "blocked_s": 0.1 * at_s, "failed": 12, "dead": 2, "last_failure": failure,
    });
    let gopher = |name: &str, busy: f64, restarts: u64| {
        json!({
            "name": name, "kind": "gopher", "state": "running", "books": 4_200, "per_s": 412.4,
            "restarts": restarts, "busy_s": busy * at_s,
        })
    };
    let pile = json!({
        "ready": 12_345, "delayed": 3, "leased": 64, "stored": 0, "oldest_s": 7.25,
        "capacity": 20_000, "durable": true, "carts_for_books": 0, "carts_for_space": 2,
    });
    json!({
        "run": "r1", "topology": "archive", "at_s": at_s, "ready": true,
        "ledger": {
            "offered": 20_000, "burned": 4_198, "dead": 2, "dropped": 0, "in_flight": 15_800,
        },
        "nodes": [
            { "name": "inbox", "kind": "pile", "state": "running", "per_s": 0.25, "pile": pile },
            haul,
            gopher("haul/1", 0.9, 1),
            gopher("haul/2", 0.7, 2),
            {
                "name": "outbox", "kind": "incinerator", "state": "paused",
                "paused": "no answer from 10.0.0.7", "restarts": 0, "busy_s": 0.2 * at_s,
            },
            { "name": "desk", "kind": "balancer", "state": "down", "per_s": 3.0, "restarts": 9 },
        ],
    })
}

fn screen() -> Screen {
    let mut screen = Screen::default();
    for at_s in [10.0, 11.0] {
        screen.take(serde_json::from_value(run(at_s)).expect("a snapshot"));
    }
    screen
}

fn press(screen: &mut Screen, keys: &str) -> Act {
    keys.chars().fold(Act::Stay, |_, key| {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            '⇟' => KeyCode::End,
            key => KeyCode::Char(key),
        };
        screen.press(KeyEvent::new(code, KeyModifiers::NONE))
    })
}

fn drawn(screen: &Screen, (width, height): (u16, u16), colors: bool) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| view::draw(frame, screen, colors)).expect("it draws");
    terminal
}

fn text(screen: &Screen, size: (u16, u16)) -> String {
    drawn(screen, size, true).backend().to_string()
}

/// The first cell of the row that begins with `name`.
fn cell(terminal: &Terminal<TestBackend>, name: &str) -> Cell {
    let buffer = terminal.backend().buffer();
    let rows = 0..buffer.area.height;
    let starts = |y: &u16| {
        let letters = (0..name.len() as u16).map(|x| buffer[(x, *y)].symbol().to_owned());
        letters.collect::<String>() == name
    };
    let y = rows.into_iter().find(starts).unwrap_or_else(|| panic!("no {name}"));
    buffer[(0, y)].clone()
}

#[test]
fn a_wide_terminal_shows_every_column() {
    let mut screen = screen();
    press(&mut screen, "g↓");
    insta::assert_snapshot!("wide", text(&screen, (150, 12)));
}

#[test]
fn eighty_columns_leave_some_out_and_break_no_word() {
    let screen = screen();
    let shown = text(&screen, (80, 10));
    insta::assert_snapshot!("narrow", shown);
    let wide = text(&screen, (400, 10));
    let words = |text: &str| -> Vec<String> {
        text.split_whitespace().map(|word| word.trim_matches(['"', '…']).to_owned()).collect()
    };
    let known = words(&wide);
    for columns in 40..200 {
        let shown = text(&screen, (columns, 12));
        for word in words(&shown) {
            assert!(known.contains(&word), "{columns}: {word}\n{shown}");
        }
    }
}

#[test]
fn rows_are_sorted_filtered_and_chosen_by_name() {
    let mut screen = screen();
    let names = |screen: &Screen| -> Vec<String> {
        screen.rows().iter().map(|row| row.node.name.clone()).collect()
    };
    assert_eq!(names(&screen), ["inbox", "haul", "outbox", "desk"]);
    for (column, expected) in [
        (Column::Rate, ["haul", "desk", "inbox", "outbox"]),
        (Column::Oldest, ["inbox", "haul", "outbox", "desk"]),
        (Column::Busy, ["haul", "outbox", "desk", "inbox"]),
        (Column::Restarts, ["desk", "haul", "inbox", "outbox"]),
        (Column::Node, ["desk", "haul", "inbox", "outbox"]),
        (Column::Failure, ["outbox", "haul", "inbox", "desk"]),
    ] {
        screen.sort = Some(column);
        assert_eq!(names(&screen), expected, "{column:?}");
    }
    screen.sort = None;
    press(&mut screen, "S");
    assert_eq!(screen.sort, Some(Column::Failure), "the one before the first is the last");
    press(&mut screen, "ss");
    assert_eq!(screen.sort, Some(Column::Node));
    press(&mut screen, "r");
    assert_eq!(names(&screen), ["outbox", "inbox", "haul", "desk"]);
    // The choice stays with its node, whatever the order is.
    press(&mut screen, "↓r");
    let rows = screen.rows();
    assert_eq!(rows[screen.place(&rows)].node.name, "inbox");
    drop(rows);
    press(&mut screen, "/DISK\n");
    assert_eq!(names(&screen), ["haul"]);
    insta::assert_snapshot!("filtered", text(&screen, (80, 8)));
    press(&mut screen, "\u{1b}g");
    assert_eq!(names(&screen).len(), 6);
    // Keys of a filter are no commands.
    assert_eq!(press(&mut screen, "/q"), Act::Stay);
    assert_eq!(screen.filter, "q");
    press(&mut screen, "\u{1b}");
    assert_eq!(press(&mut screen, "q"), Act::Quit);
}

#[test]
fn a_node_is_opened_scrolled_and_left() {
    let mut screen = screen();
    assert_eq!(press(&mut screen, "↓\n"), Act::Open);
    assert_eq!(screen.wanted(), Some("haul"));
    let mut detail = run(11.0)["nodes"][1].clone();
    detail["at_s"] = json!(11.0);
    detail["reasons"] = json!([{
        "node": "haul", "reason": "the server said: come back when there is space on the disk",
        "count": 12, "final": 2, "first": "book 7", "last_s": 10.5,
    }]);
    detail["events"] = json!([
        { "number": 9, "at_s": 10.5, "kind": "dead", "text": "book 7: no space" },
        { "number": 8, "at_s": 3.0, "kind": "exited", "text": "panicked at work.rs:1\u{7}" },
    ]);
    let detail: Detail = serde_json::from_value(detail).expect("details");
    screen.show(Detail { node: Default::default(), ..detail.clone() });
    assert!(screen.open.as_ref().is_some_and(|(_, detail)| detail.is_none()), "another node's");
    screen.show(detail);
    insta::assert_snapshot!("details", text(&screen, (80, 24)));
    press(&mut screen, "⇟");
    let end = text(&screen, (80, 12));
    assert!(end.contains("panicked at work.rs:1\\u{7}"), "{end}");
    assert_eq!(press(&mut screen, "\u{1b}"), Act::Stay);
    assert_eq!(screen.wanted(), None);
}

#[test]
fn colours_are_used_only_if_they_may_be() {
    let mut screen = screen();
    screen.problem = Some("no answer".to_owned());
    let colored = drawn(&screen, (120, 12), true);
    assert_eq!(cell(&colored, "outbox").fg, Color::Yellow);
    assert_eq!(cell(&colored, "desk").fg, Color::Red);
    assert_eq!(cell(&colored, "stale: no answer").fg, Color::Red);
    // The first row is chosen, the crew limits the rate.
    assert!(cell(&colored, "inbox").modifier.contains(Modifier::REVERSED));
    assert!(cell(&colored, "haul").modifier.contains(Modifier::BOLD));
    assert!(!cell(&colored, "outbox").modifier.contains(Modifier::BOLD));
    let plain = drawn(&screen, (120, 12), false);
    assert!(plain.backend().buffer().content().iter().all(|cell| cell.fg == Color::Reset));
    assert!(cell(&plain, "haul").modifier.contains(Modifier::BOLD));
}

#[test]
fn shares_are_those_of_the_last_second_and_begin_anew_with_a_run() {
    let mut screen = Screen::default();
    let at = |at_s: f64, busy_s: f64, run: &str| -> Snapshot {
        let haul = json!({ "name": "haul", "kind": "crew", "busy_s": busy_s });
        serde_json::from_value(json!({ "run": run, "at_s": at_s, "nodes": [haul] })).unwrap()
    };
    let busy = |screen: &Screen| screen.row(&screen.now.nodes[0]).shares.busy;
    screen.take(at(10.0, 1.0, "a"));
    assert_eq!(busy(&screen), Some(0.1), "since the start");
    screen.take(at(10.5, 1.5, "a"));
    assert_eq!(busy(&screen), Some(0.1), "too soon");
    screen.take(at(11.0, 1.5, "a"));
    assert_eq!(busy(&screen), Some(0.5));
    screen.take(at(12.0, 3.0, "b"));
    assert_eq!(busy(&screen), Some(0.25));
    assert_eq!(screen.row(&screen.now.nodes[0]).shares.idle, None);
}

#[test]
fn a_terminal_of_any_size_and_an_empty_run_are_drawn() {
    for size in [(1, 1), (3, 2), (40, 3), (200, 60)] {
        let mut screen = Screen::default();
        text(&screen, size);
        press(&mut screen, "↓\n⇟");
        screen.take(serde_json::from_value(run(1.0)).expect("a snapshot"));
        press(&mut screen, "⇟\n⇟");
        text(&screen, size);
    }
}
