//! Workers that panic, are killed, or cannot be made.

use super::*;

fn panics_on(number: u32) -> Builder<impl Work<Request = u32, Reply = u32>> {
    Balancer::of(move |_| {
        from_fn(async move |n: u32| {
            assert!(n != number, "not {n}");
            n
        })
    })
    .workers(2)
}

#[test]
fn a_panic_is_its_callers_answer_and_the_worker_comes_back() {
    virtually(async |clock| {
        let balancer = panics_on(3).clock(clock.clone()).start().await.unwrap();
        for round in 0..3 {
            for n in 0..10 {
                match balancer.call(n).await {
                    Ok(answer) => assert_eq!(answer, n),
                    Err(CallError::WorkerLost { reason }) => {
                        assert_eq!(n, 3);
                        assert!(reason.contains("panicked: not 3"), "{reason}");
                    }
                    Err(other) => panic!("{round}: {other}"),
                }
            }
        }
        clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(balancer.restarts(), 3);
        assert_eq!(balancer.figures().counts.failed, 3);
    });
}

#[test]
fn an_idempotent_request_is_retried_so_often_and_no_oftener() {
    virtually(async |clock| {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = tries.clone();
        let balancer = Balancer::of(move |_| {
            let tries = counted.clone();
            from_fn(move |good: usize| {
                let tries = tries.clone();
                async move {
                    let nth = tries.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(nth >= good, "try {nth}");
                    nth
                }
            })
        })
        .idempotent(3)
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
        assert_eq!(balancer.call(3).await, Ok(3));
        let lost = balancer.call(100).await.unwrap_err();
        assert!(matches!(lost, CallError::WorkerLost { reason } if reason.contains("try 6")));
        assert_eq!(tries.load(Ordering::SeqCst), 6);
        assert_eq!(balancer.figures().counts.retried, 4);
    });
}

#[test]
fn blocking_work_answers_though_its_worker_was_killed_meanwhile() {
    real(async {
        let (begun, wait) = std::sync::mpsc::channel();
        let (go, going) = std::sync::mpsc::channel::<()>();
        let going = Arc::new(Mutex::new(going));
        let balancer = Balancer::of(move |_| {
            let (begun, going) = (begun.clone(), going.clone());
            blocking(move |n: u32| {
                begun.send(()).unwrap();
                going.lock().unwrap().recv().unwrap();
                n
            })
        })
        .name("desk")
        .start()
        .await
        .unwrap();
        let call = balancer.start(7).await.unwrap();
        let wait = actix_rt::task::spawn_blocking(move || wait.recv().unwrap());
        wait.await.unwrap();
        let mut events = balancer.supervisor().events();
        assert!(balancer.supervisor().kill("desk/1"));
        while !matches!(
            events.recv().await.unwrap(),
            gopherworks_supervision::SupervisionEvent::Started { .. }
        ) {}
        go.send(()).unwrap();
        assert_eq!(call.await, Ok(7));
        assert_eq!(balancer.figures().counts.answered, 1);
    });
}

#[test]
fn a_panic_on_a_thread_ends_the_worker_too() {
    real(async {
        let balancer = Balancer::of(|_| blocking(|n: u32| 10 / n)).start().await.unwrap();
        assert!(matches!(balancer.call(0).await, Err(CallError::WorkerLost { .. })));
        assert_eq!(balancer.call(5).await, Ok(2));
        assert_eq!(balancer.restarts(), 1);
    });
}

#[test]
fn a_worker_that_cannot_be_made_is_an_error_of_the_start() {
    virtually(async |clock| {
        let refused = Balancer::<crate::worker::Functions<()>>::try_of(|worker| match worker {
            0 => Ok(crate::worker::Functions::quick()),
            _ => Err(Failure::permanent("no such device")),
        });
        let error = refused.workers(2).clock(clock).start().await.unwrap_err();
        assert!(error.to_string().contains("no such device"));
    });
}

#[test]
fn the_balancer_itself_may_die() {
    virtually(async |clock| {
        let balancer =
            sleepers(&clock, &Counted::default()).workers(2).name("desk").start().await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(balancer.start(MS).await.unwrap());
            balancer.supervisor().kill("desk");
        }
        for answer in join_all(calls).await {
            assert_eq!(answer, Ok(MS));
        }
    });
}
