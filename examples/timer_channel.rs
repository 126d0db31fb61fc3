//! The talk's timerChan: the channel delivers the time at which the timer ended, however late it is
//! read.

use std::time::Duration;

use gopherworks::simulate::in_virtual_time;
use tokio::sync::oneshot;

fn main() {
    in_virtual_time(async |clock| {
        let (sender, timer) = oneshot::channel();
        let time = clock.clone();
        actix_rt::spawn(async move {
            time.sleep(Duration::from_secs(1)).await;
            let _ = sender.send(time.now());
        });
        // Other work keeps the reader busy for much longer.
        clock.sleep(Duration::from_secs(3)).await;
        let completed_at = timer.await.expect("the timer ends");
        println!("completed at {completed_at}, read at {}", clock.now());
    });
}
