//! Strikes applied to lives, and randomised schedules.

use super::*;

#[test]
fn a_strike_is_an_exit_like_any_other() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let made = trace.clone();
        let (handle, _port, mut events) = one(&clock, move |_| Ok(Probe::new("p", &made))).await;
        handle.wait_started().await.expect("it starts");
        let cases = [
            (Strike::Panic("struck".into()), "panicked: struck"),
            (Strike::Kill, "was killed"),
            (Strike::Stop, "ended normally"),
        ];
        for (epoch, (strike, exit)) in (2..).zip(cases) {
            assert!(handle.strike("probe", strike));
            assert_eq!(events.exit().await.to_string(), exit);
            assert_eq!(events.started().await, epoch);
        }
        assert!(!handle.strike("nobody", Strike::Kill));
        handle.stop(ms(1_000)).await;
    });
}

#[test]
fn one_that_hangs_without_an_arbiter_of_its_own_goes_on_afterwards() {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let made = trace.clone();
        let (handle, port, _events) = one(&clock, move |_| Ok(Probe::new("p", &made))).await;
        handle.wait_started().await.expect("it starts");
        trace.take();
        handle.strike("probe", Strike::Hang(ms(250)));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        port.send(noting(&trace, "message")).expect("it is there");
        clock.sleep(ms(249)).await;
        assert!(trace.take().is_empty());
        clock.sleep(ms(2)).await;
        assert_eq!(trace.take(), ["p handled", "message dropped"]);
        handle.stop(ms(1_000)).await;
    });
}

/// The order in which three children handle messages sent to them in turn.
fn order(schedule: Option<u64>) -> Vec<String> {
    in_virtual_time(|clock| async move {
        let trace = Trace::default();
        let ports: Vec<Port<Probe>> = (0..3).map(|_| Port::new()).collect();
        let children = ports.iter().enumerate().map(|(at, port)| {
            let (name, trace) = (format!("child{at}"), trace.clone());
            Child::new(name.clone(), port, move |_| Ok(Probe::new(&name, &trace)))
        });
        let fuzz = schedule.map(|number| Fuzz::new(Seed(1), number));
        let children = children.collect();
        let policy = RestartPolicy::default();
        let setup = Setup { fuzz, ..Setup::new(policy, clock.clone(), Seed(1)) };
        let handle = Supervisor::start_with(setup, children);
        handle.wait_started().await.expect("they start");
        trace.take();
        for round in 0..20 {
            for port in &ports {
                let note =
                    tell(move |probe, _| probe.trace.note(format!("{} {round}", probe.name)));
                port.send(note).expect("it is there");
            }
            clock.sleep(ms(1)).await;
        }
        let told = trace.take();
        handle.stop(ms(1_000)).await;
        told
    })
}

#[test]
fn a_schedule_is_the_same_again_and_others_are_others() {
    let plain = order(None);
    assert_eq!(plain[..3], ["child0 0", "child1 0", "child2 0"].map(String::from));
    let fuzzed: Vec<_> = (0..20).map(|number| order(Some(number))).collect();
    for (number, told) in (0..).zip(&fuzzed) {
        assert_eq!(told.len(), 60, "nothing is lost, no child starved");
        assert_eq!(*told, order(Some(number)));
    }
    let distinct: std::collections::BTreeSet<_> = fuzzed.iter().collect();
    assert!(distinct.len() > 10, "{} of 20", distinct.len());
}
