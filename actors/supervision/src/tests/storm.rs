//! Thousands of crashes leave nothing behind, and a run is reproducible from its seed.

use rand::RngExt;

use super::*;

const CRASHES: u64 = 3_000;

/// The events of a storm of random failures of three children, and the time of its end.
fn storm(seed: u64) -> (Vec<String>, Time) {
    in_virtual_time(|clock| async move {
        let policy = RestartPolicy {
            strategy: Strategy::RestForOne,
            intensity: u32::MAX,
            in_a_row: u32::MAX,
            ..RestartPolicy::default()
        };
        let ports: Vec<Port<Probe>> = (0..3).map(|_| Port::new()).collect();
        let (trace, alive) = (Trace::default(), Arc::new(()));
        let children = ports.iter().enumerate().map(|(index, port)| {
            let (trace, alive) = (trace.clone(), alive.clone());
            Child::new(format!("child{index}"), port, move |birth| {
                let _alive = alive.clone();
                trace.take();
                if birth.epoch % 7 == 0 {
                    return Err("every seventh".into());
                }
                Ok(Probe::new(&birth.name, &trace))
            })
        });
        let children = children.collect();
        let handle = Supervisor::start(policy, clock.clone(), Seed(seed), children);
        let mut events = Events(handle.events());
        let mut draws = Seed(seed).stream("storm", "victims");
        let mut told = vec![];
        while handle.restarts(ChildId(2)) < CRASHES {
            let victim = draws.random_range(0..3);
            let epoch = ports[victim].epoch();
            let crash = tell(|_, _| std::panic::resume_unwind(Box::new("storm")));
            let sent = ports[victim].send(crash).is_ok();
            // Waits for the child that was hit; a child that is down is bound again after further
            // events.
            loop {
                let event = events.next().await;
                told.push(format!("{event:?}"));
                match event {
                    SupervisionEvent::Exited { child, epoch: ended, .. } if sent => {
                        if child.0 == victim && Some(ended) == epoch {
                            break;
                        }
                    }
                    _ if sent => {}
                    _ => break,
                }
            }
        }
        handle.stop(ms(1_000)).await;
        handle.lives_ended().await;
        assert_eq!(handle.lives(), 0);
        assert_eq!(clock.sleepers(), 0, "no timer is left");
        drop((handle, events));
        // The runtime drops the tasks of the supervisor and of the last lives, which may take one
        // more turn.
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&alive), 1, "no factory is left");
        for port in &ports {
            assert_eq!(port.holders(), 1, "there is no other holder of the port");
        }
        (told, clock.now())
    })
}

#[test]
fn leaves_no_task_timer_factory_or_port_behind_and_is_the_same_again() {
    let (first, end) = storm(7);
    assert!(first.len() as u64 > CRASHES);
    assert_eq!((first, end), storm(7), "same seed, same storm");
    assert_ne!(storm(8).1, end, "another seed, another storm");
}
