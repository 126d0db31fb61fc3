//! Panicking drops of guarded values.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Panics on drop, and counts the drops.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a bomb went off");
    }
}

#[test]
fn a_panicking_drop_ends_in_the_guard() {
    let dropped = Arc::new(AtomicUsize::new(0));
    drop(Guarded::new(Bomb(dropped.clone())));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn values_are_reached_and_given_back() {
    let mut guarded = Guarded::from(vec![1]);
    guarded.push(2);
    assert_eq!(guarded.len(), 2);
    assert_eq!(format!("{guarded:?}"), "[1, 2]");
    assert_eq!(guarded.into_inner(), [1, 2]);
}

#[test]
fn into_inner_takes_the_guard_off() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let bomb = Guarded::new(Bomb(dropped.clone())).into_inner();
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(bomb))).is_err());
}

fn two_bombs_while_unwinding() -> usize {
    let dropped = Arc::new(AtomicUsize::new(0));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _first = Guarded::new(Bomb(dropped.clone()));
        let _second = Guarded::new(Bomb(dropped.clone()));
        panic!("the first panic");
    }));
    let payload = caught.expect_err("it panicked");
    assert_eq!(payload.downcast_ref(), Some(&"the first panic"));
    dropped.load(Ordering::Relaxed)
}

/// The environment variable with the scene that a process started by [`play`] must run.
const SCENE: &str = "GOPHERWORKS_TEST_SCENE";

/// Runs `test` of this file in a process of its own, with `scene` in its environment.
fn play(test: &str, scene: &str) -> std::process::ExitStatus {
    let program = std::env::current_exe().expect("the test's own program");
    let status = std::process::Command::new(program)
        .args(["--exact", test])
        .env(SCENE, scene)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    status.expect("it runs")
}

#[test]
fn drops_during_an_unwinding_don_t_abort() {
    let name = "guarded::tests::drops_during_an_unwinding_don_t_abort";
    match std::env::var(SCENE).as_deref() {
        Ok("guarded") => assert_eq!(two_bombs_while_unwinding(), 2),
        Ok(_) => {
            let _bare = Bomb(Arc::default());
            panic!("the first panic; the bomb's panic aborts the process");
        }
        Err(_) => {
            assert!(play(name, "guarded").success());
            // Shows what the guard prevents, and that this test can fail: an aborted process, not a
            // failed test (101).
            let bare = play(name, "bare");
            assert!(!bare.success() && bare.code() != Some(101), "{bare}");
        }
    }
}
