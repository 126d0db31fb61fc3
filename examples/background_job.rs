//! Like `job &` in a shell: a job that runs by itself, has an id, can be watched, and can be awaited.

use gopherworks::actors::balancer::Balancer;
use gopherworks::actors::worker::Functions;

#[actix::main]
async fn main() -> Result<(), gopherworks::Failure> {
    let shell = Balancer::of(|_| Functions::new())
        .workers(2)
        .start()
        .await?;
    let (finish, wait) = std::sync::mpsc::channel::<()>();
    let job = shell
        .start(Box::new(move || wait.recv().map_or(1, |()| 0)))
        .await
        .map_err(|error| gopherworks::Failure::permanent(error.to_string()))?;
    println!("[{}] running, {} under way", job.id(), shell.figures().open);
    // The prompt is back: other commands run meanwhile.
    let other = shell.call(Box::new(|| 7)).await;
    println!("another command answered {other:?}");
    finish.send(()).expect("the job waits");
    println!("the job ended with {:?}", job.await);
    Ok(())
}
