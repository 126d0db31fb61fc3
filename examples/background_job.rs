//! Like `job &` in a shell: a background job with an id, which can be watched and awaited.

use gopherworks::balancer::Balancer;
use gopherworks::balancer::worker::Functions;

#[actix::main]
async fn main() -> Result<(), gopherworks::Failure> {
    let shell = Balancer::of(|_| Functions::new()).workers(2).start().await?;
    let (finish, wait) = std::sync::mpsc::channel::<()>();
    let job = shell
        .start(Box::new(move || wait.recv().map_or(1, |()| 0)))
        .await
        .map_err(|error| gopherworks::Failure::permanent(error.to_string()))?;
    println!("[{}] running, {} under way", job.id(), shell.figures().open);
    // Like a shell that shows its prompt again: other jobs run meanwhile.
    let other = shell.call(Box::new(|| 7)).await;
    println!("another command answered {other:?}");
    finish.send(()).expect("the job waits");
    println!("the job ended with {:?}", job.await);
    Ok(())
}
