//! `go f()`: without it the caller waits for f; with it f runs concurrently and the caller
//! continues.

use std::cell::RefCell;
use std::rc::Rc;

#[actix::main]
async fn main() {
    let log = Rc::new(RefCell::new(Vec::new()));
    let f = |log: Rc<RefCell<Vec<&'static str>>>| async move {
        log.borrow_mut().push("f begins");
        tokio::task::yield_now().await;
        log.borrow_mut().push("f ends");
    };
    f(log.clone()).await;
    log.borrow_mut().push("g begins");
    println!("f(); g():    {}", log.take().join(", "));

    let running = actix_rt::spawn(f(log.clone()));
    log.borrow_mut().push("g begins");
    running.await.expect("f does not panic");
    println!("go f(); g(): {}", log.take().join(", "));
}
