//! Each ask has exactly one outcome, whatever happens to the actor that receives it.

use actix::{ResponseActFuture, WrapFuture};
use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

/// Records the messages it receives, and replies with twice the number.
struct Clerk {
    clock: Clock,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

#[derive(Debug, Clone, Copy)]
enum How {
    After(u64),
    Never,
    Panics,
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Question(u64, How);

impl Handler<Question> for Clerk {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, Question(number, how): Question, _: &mut Self::Context) -> Self::Result {
        self.asked.lock().unwrap().push(number);
        let late = match how {
            How::After(by) => self.clock.sleep(ms(by)),
            How::Never => self.clock.sleep_until(Time::MAX),
            How::Panics => panic!("asked too much"),
        };
        let answer = async move {
            late.await;
            2 * number
        };
        Box::pin(answer.into_actor(self))
    }
}

fn clerk(
    clock: &Clock,
    policy: RestartPolicy,
) -> (SupervisorHandle, Port<Clerk>, Arc<Mutex<Vec<u64>>>) {
    let (port, asked) = (Port::new(), Arc::<Mutex<Vec<u64>>>::default());
    let (time, notes) = (clock.clone(), asked.clone());
    let child = Child::new("clerk", &port, move |_| {
        Ok(Clerk { clock: time.clone(), asked: notes.clone() })
    });
    (supervise(policy, clock, vec![child]), port, asked)
}

#[test]
fn a_question_is_answered_lost_late_or_given_back() {
    in_virtual_time(|clock| async move {
        let (handle, port, asked) = clerk(&clock, RestartPolicy::default());
        let early = port.ask(Question(1, How::After(0))).await;
        assert!(matches!(early, Err(AskError::Vacant(Question(1, _)))), "{early:?}");
        assert_eq!(port.bound().await, Ok(1));
        assert_eq!(port.ask(Question(2, How::After(3))).await, Ok(4));
        let late = port.ask_within(Question(3, How::Never), &clock, ms(5));
        assert_eq!(late.await, Err(AskError::Timeout));
        // The message is sent by the call, whether or not the reply is awaited.
        let lost = port.ask(Question(4, How::Never));
        assert_eq!(port.ask(Question(5, How::Panics)).await, Err(AskError::Lost));
        assert_eq!(lost.await, Err(AskError::Lost));
        assert_eq!(port.bound_after(1).await, Ok(2));
        assert_eq!(port.ask(Question(6, How::After(0))).await, Ok(12));
        let again = port.clone();
        let waits = actix_rt::spawn(async move { again.bound_after(2).await });
        handle.stop(ms(1_000)).await;
        assert_eq!(waits.await.expect("no panic"), Err(Closed));
        assert_eq!(port.bound().await, Err(Closed));
        let gone = port.ask(Question(7, How::After(0))).await;
        assert!(matches!(gone, Err(AskError::Gone(Question(7, _)))), "{gone:?}");
        assert_eq!(*asked.lock().unwrap(), [2, 3, 4, 5, 6]);
    });
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

#[test]
fn a_life_that_was_given_up_as_hung_answers_no_more() {
    in_virtual_time(|clock| async move {
        let (handle, port, _) = clerk(&clock, RestartPolicy::default());
        assert_eq!(port.bound().await, Ok(1));
        let waits = port.ask(Question(1, How::Never));
        handle.strike("clerk", Strike::Hang(Duration::MAX));
        clock.sleep(ms(1)).await;
        handle.give_up("clerk", 1);
        assert_eq!(waits.await, Err(AskError::Lost));
        assert_eq!(port.bound_after(1).await, Ok(2));
        handle.kill_all();
    });
}

/// A supervisor with two started clerks of one template, and their ports.
async fn clerks(clock: &Clock) -> (SupervisorHandle, Ports<Clerk>) {
    let (ports, time) = (Ports::new(2), clock.clone());
    let template = Template::new("clerk", &ports, move |_| {
        Ok(Clerk { clock: time.clone(), asked: Arc::default() })
    });
    let handle = supervise(RestartPolicy::default(), clock, vec![]);
    handle.start_many(template).await.expect("they start");
    (handle, ports)
}

#[test]
fn a_question_to_a_port_of_a_template_has_the_outcomes_of_any_port() {
    in_virtual_time(|clock| async move {
        let early = Ports::<Clerk>::new(1).ask(0, Question(1, How::After(0)));
        assert_eq!(early.await, Err(AskError::Vacant(Question(1, How::After(0)))));
        let (handle, ports) = clerks(&clock).await;
        assert_eq!(ports.ask(1, Question(2, How::After(3))).await, Ok(4));
        let late = ports.ask_within(0, Question(3, How::Never), &clock, ms(5));
        assert_eq!(late.await, Err(AskError::Timeout));
        let lost = ports.ask(0, Question(4, How::Never));
        let panics = ports.ask(0, Question(5, How::Panics));
        assert_eq!(panics.await, Err(AskError::Lost));
        assert_eq!(lost.await, Err(AskError::Lost));
        let none = ports.ask(2, Question(6, How::After(0)));
        assert_eq!(none.await, Err(AskError::Gone(Question(6, How::After(0)))));
        handle.stop(ms(1_000)).await;
        let gone = ports.ask(1, Question(7, How::After(0)));
        assert_eq!(gone.await, Err(AskError::Gone(Question(7, How::After(0)))));
    });
}

#[test]
fn a_hung_life_of_a_template_answers_no_more() {
    in_virtual_time(|clock| async move {
        let (handle, ports) = clerks(&clock).await;
        let waits = ports.ask_within(0, Question(1, How::Never), &clock, ms(1_000));
        handle.strike("clerk/0", Strike::Hang(Duration::MAX));
        clock.sleep(ms(1)).await;
        handle.give_up("clerk/0", 1);
        assert_eq!(waits.await, Err(AskError::Lost));
        handle.kill_all();
    });
}

#[derive(Debug, Clone)]
enum AskStep {
    Ask(How),
    Kill,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<AskStep>> {
    let how = prop_oneof![(0..20u64).prop_map(How::After), Just(How::Never), Just(How::Panics)];
    let step = prop_oneof![
        4 => how.prop_map(AskStep::Ask),
        1 => Just(AskStep::Kill),
        2 => (0..30u64).prop_map(AskStep::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_question_has_one_outcome_that_is_true(steps in steps()) {
        let (outcomes, asked) = in_virtual_time(|clock| async move {
            let policy = RestartPolicy {
                intensity: u32::MAX,
                in_a_row: u32::MAX,
                ..RestartPolicy::default()
            };
            let (handle, port, asked) = clerk(&clock, policy);
            let mut waits = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    AskStep::Ask(how) => {
                        let answer = port.ask(Question(number as u64, how));
                        waits.push((number as u64, actix_rt::spawn(answer)));
                    }
                    AskStep::Kill => _ = handle.kill("clerk"),
                    AskStep::Wait(by) => clock.sleep(ms(by)).await,
                }
            }
            handle.stop(ms(1_000)).await;
            let mut outcomes = Vec::new();
            for (number, wait) in waits {
                outcomes.push((number, wait.await.expect("no panic")));
            }
            let asked = asked.lock().unwrap().clone();
            (outcomes, asked)
        });
        for (number, outcome) in outcomes {
            let handled = asked.iter().filter(|one| **one == number).count();
            match outcome {
                Ok(answer) => {
                    prop_assert_eq!(answer, 2 * number);
                    prop_assert_eq!(handled, 1);
                }
                Err(AskError::Vacant(back) | AskError::Gone(back)) => {
                    prop_assert_eq!(back.0, number);
                    prop_assert_eq!(handled, 0);
                }
                Err(AskError::Lost) => prop_assert!(handled <= 1),
                Err(AskError::Timeout) => prop_assert!(false, "no time limit was given"),
            }
        }
    }
}
