//! Tells a service manager such as systemd what a run does, if there is one (`NOTIFY_SOCKET`).

use std::time::Duration;

use gopherworks::supervision::clock::Clock;
use sd_notify::{NotifyState, notify, watchdog_enabled};

/// The run has started: `Type=notify` units are active from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The run drains, or ends: nothing new is begun.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Feeds the watchdog from the thread that runs the supervisor, twice in its span (`WatchdogSec`):
/// a process that hangs is restarted. Never returns, also without a watchdog.
pub async fn feed_watchdog() {
    let Some(span) = watchdog_enabled().filter(|span| *span > Duration::ZERO) else {
        return std::future::pending().await;
    };
    let clock = Clock::real();
    loop {
        tell(NotifyState::Watchdog);
        clock.sleep(span / 2).await;
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = notify(&[state]) {
        log::warn!("the service manager can't be told: {error}");
    }
}
