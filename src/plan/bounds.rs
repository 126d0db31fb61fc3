//! Checks the upper bounds of all numbers in a config, and of the totals over a topology.

use std::time::Duration;

use super::{Validator, memory};
use crate::catalog::units::{Size, Time, parse_size};
use crate::config::label::product;
use crate::config::limits::{self, grouped};
use crate::config::schema::{
    BalancerConfig, Capacity, CrewConfig, Exclusive, FaultConfig, FaultKindConfig, FaultWhatConfig,
    LoadConfig, PolicyConfig, RequesterConfig, SpanConfig, SupervisionConfig, TopologyConfig,
    WhenConfig,
};

/// Reports each number above its upper bound.
pub(super) fn check(validator: &mut Validator<'_>, config: &TopologyConfig) {
    for (name, pile) in &config.piles {
        let node = Node(validator, vec!["piles", name]);
        store(node, pile.capacity, pile.exclusive, pile.max_attempts);
    }
    for (name, dump) in &config.dumps {
        let node = Node(validator, vec!["dumps", name]);
        store(node, dump.capacity, dump.exclusive, dump.max_attempts);
    }
    for (name, fire) in &config.incinerators {
        slots(&mut Node(validator, vec!["incinerators", name]), fire.exclusive);
    }
    for (name, crew) in &config.crews {
        self::crew(Node(validator, vec!["crews", name]), crew);
    }
    for (name, relay) in &config.relays {
        let mut node = Node(validator, vec!["relays", name]);
        node.count(&["books"], relay.books, limits::MOST_BOOKS);
    }
    for (name, balancer) in &config.balancers {
        self::balancer(Node(validator, vec!["balancers", name]), balancer);
    }
    for (name, requester) in &config.requesters {
        self::requester(Node(validator, vec!["requesters", name]), requester);
    }
    let mut execution = Node(validator, vec!["execution"]);
    execution.count(&["cores"], Some(config.execution.cores), limits::MOST_CORES);
    execution.time(&["drain_deadline"], config.execution.drain_deadline);
    supervision(Node(validator, vec!["supervision"]), &config.supervision);
    Node(validator, vec!["model"]).time(&["t1"], config.model.t1);
    for (name, fault) in &config.faults {
        self::fault(Node(validator, vec!["faults", name]), fault);
    }
    Node(validator, vec!["expect"]).time(&["recovery_p99"], config.expect.recovery_p99);
}

/// The config path of a node, with methods to check its keys.
struct Node<'a, 'j>(&'a mut Validator<'j>, Vec<&'a str>);

impl Node<'_, '_> {
    fn refuse(&mut self, keys: &[&str], message: String) {
        let path = [&self.1[..], keys].concat();
        let mistake = self.0.error(&path, message);
        self.0.report(mistake);
    }

    fn count<T: Into<u64> + Copy>(&mut self, keys: &[&str], said: Option<T>, most: T) {
        let (Some(said), most) = (said.map(Into::into), most.into()) else {
            return;
        };
        if said > most {
            let message = if said >= u64::from(u32::MAX - 1) && most < u64::from(u32::MAX) {
                // The reader saturates numbers that do not fit their type.
                format!("this number is too large: at most {}", grouped(most))
            } else {
                let said = grouped(said);
                format!("{said} is too large: at most {}", grouped(most))
            };
            self.refuse(keys, message);
        }
    }

    fn size(&mut self, keys: &[&str], said: Option<u64>, most: u64) {
        if let Some(said) = said.filter(|said| *said > most) {
            let (said, most) = (Size(said), Size(most));
            self.refuse(keys, format!("{said} is too large: at most {most}"));
        }
    }

    fn time(&mut self, keys: &[&str], said: Option<Duration>) {
        if let Some(said) = said.filter(|said| *said > limits::LONGEST) {
            let said = Time(said);
            self.refuse(keys, format!("{said} is too long: at most 100 years"));
        }
    }

    fn factor(&mut self, keys: &[&str], said: Option<f64>, most: f64) {
        // Checks of the lower bound report numbers that are NaN or infinite.
        if let Some(said) = said.filter(|said| said.is_finite() && *said > most) {
            self.refuse(keys, format!("{said} is too large: at most {most}"));
        }
    }

    fn span(&mut self, keys: &[&str], said: SpanConfig) {
        let mut time = |more: &[&'static str], said: Duration| {
            self.time(&[keys, more].concat(), Some(said));
        };
        match said {
            SpanConfig::Fixed(said) => time(&[], said),
            SpanConfig::Uniform(least, most) => time(&["uniform"], least.max(most)),
            SpanConfig::Exponential(mean) => time(&["exponential"], mean),
            SpanConfig::LogNormal { mean, cv2 } => {
                time(&["lognormal", "mean"], mean);
                let keys = [keys, &["lognormal", "cv2"]].concat();
                self.factor(&keys, Some(cv2), limits::LARGEST_FACTOR);
            }
            SpanConfig::Bimodal { short, long, .. } => {
                time(&["bimodal", "short"], short);
                time(&["bimodal", "long"], long);
            }
        }
    }
}

fn store(mut node: Node<'_, '_>, capacity: Capacity, exclusive: Exclusive, attempts: u32) {
    node.count(&["capacity", "books"], capacity.books, limits::MOST_BOOKS);
    node.size(&["capacity", "bytes"], capacity.bytes, limits::LARGEST);
    slots(&mut node, exclusive);
    node.count(&["max_attempts"], Some(attempts), limits::MOST_TIMES);
}

fn slots(node: &mut Node<'_, '_>, exclusive: Exclusive) {
    node.count(&["exclusive", "load"], exclusive.load, limits::MOST_SLOTS);
    node.count(&["exclusive", "unload"], exclusive.unload, limits::MOST_SLOTS);
}

fn crew(mut node: Node<'_, '_>, crew: &CrewConfig) {
    let carts = crew.carts;
    if carts.count > limits::MOST_CARTS {
        let message = format!(
            "{} carts need {}: a crew has at most {}",
            grouped(carts.count.into()),
            memory::amount(u64::from(carts.count) * memory::CART),
            grouped(limits::MOST_CARTS.into())
        );
        node.refuse(&["carts", "count"], message);
    }
    node.count(&["carts", "books"], Some(carts.books), limits::MOST_BOOKS);
    node.size(&["carts", "bytes"], carts.bytes, limits::LARGEST);
    if crew.gophers.len() > limits::MOST_GOPHERS {
        let most = grouped(limits::MOST_GOPHERS as u64);
        node.refuse(&["gophers"], format!("a crew has at most {most} gophers"));
    }
    let steps = &crew.steps;
    for (step, time) in [
        ("load", steps.load),
        ("push", steps.push),
        ("unload", steps.unload),
        ("return", steps.return_),
    ] {
        for (key, span) in [("wait", time.wait), ("cpu", time.cpu)] {
            if let Some(span) = span {
                node.span(&["steps", step, key], span);
            }
        }
    }
}

fn balancer(mut node: Node<'_, '_>, balancer: &BalancerConfig) {
    let times = limits::MOST_TIMES;
    let factor = limits::LARGEST_FACTOR;
    node.count(&["queue"], balancer.queue, limits::MOST_WAITING);
    node.count(&["max_attempts"], balancer.max_attempts, times);
    match balancer.policy {
        PolicyConfig::Central { per_worker, .. } => {
            node.count(&["policy", "per_worker"], Some(per_worker), times);
        }
        PolicyConfig::ShortFirst { ageing } => {
            node.factor(&["policy", "ageing"], Some(ageing), factor);
        }
        PolicyConfig::Reserve { short, ageing, .. } => {
            node.time(&["policy", "short"], Some(short));
            node.factor(&["policy", "ageing"], Some(ageing), factor);
        }
        PolicyConfig::LatencyAware { decay } => node.time(&["policy", "decay"], Some(decay)),
        PolicyConfig::Affinity { bound } => {
            node.factor(&["policy", "bound"], Some(bound), factor);
        }
        PolicyConfig::LeastLoaded
        | PolicyConfig::TwoChoices
        | PolicyConfig::RoundRobin
        | PolicyConfig::Random => {}
    }
    if let Some(hedge) = balancer.hedge {
        node.time(&["hedge", "after"], hedge.after);
    }
    let resilience = &balancer.resilience;
    node.time(&["deadline"], resilience.deadline);
    node.time(&["slow_start"], resilience.slow_start);
    if let Some(shed) = resilience.shed {
        node.time(&["shed", "target"], Some(shed.target));
        node.time(&["shed", "interval"], Some(shed.interval));
    }
    if let Some(budget) = resilience.retry_budget {
        node.factor(&["retry_budget", "share"], Some(budget.share), factor);
        let key = ["retry_budget", "per_second"];
        node.factor(&key, Some(budget.per_second), factor);
    }
    if let Some(eject) = resilience.eject {
        node.count(&["eject", "failures"], Some(eject.failures), times);
        node.factor(&["eject", "slower"], eject.slower, factor);
        node.time(&["eject", "pause"], Some(eject.pause));
    }
}

fn requester(mut node: Node<'_, '_>, requester: &RequesterConfig) {
    node.count(&["keys"], requester.keys, limits::MOST_KEYS);
    let all = limits::MOST_REQUESTS;
    match &requester.load {
        LoadConfig::Closed { count, think, requests } => {
            node.count(&["load", "count"], Some(*count), limits::MOST_CLIENTS);
            node.span(&["load", "think"], *think);
            node.count(&["load", "requests"], *requests, all);
        }
        LoadConfig::Open { rate, utilisation, requests, .. } => {
            node.factor(&["load", "rate"], *rate, limits::MOST_RATE);
            let most = limits::LARGEST_FACTOR;
            node.factor(&["load", "utilisation"], *utilisation, most);
            node.count(&["load", "requests"], *requests, all);
        }
        LoadConfig::Batch { requests } => {
            let key = ["load", "requests"];
            node.count(&key, Some(*requests), limits::MOST_IN_BATCH);
        }
        LoadConfig::Http(http) => {
            // `balancing::http` checks the other numbers.
            node.count(&["load", "requests"], http.requests, all);
        }
    }
}

fn supervision(mut node: Node<'_, '_>, supervision: &SupervisionConfig) {
    for (key, said) in [("intensity", supervision.intensity), ("in_a_row", supervision.in_a_row)] {
        // `u32::MAX` means no limit.
        let said = Some(said).filter(|said| *said != u32::MAX);
        node.count(&[key], said, limits::MOST_TIMES);
    }
    node.time(&["period"], Some(supervision.period));
    node.time(&["shutdown"], Some(supervision.shutdown));
    node.time(&["hang_after"], Some(supervision.hang_after));
    let backoff = supervision.backoff;
    node.time(&["backoff", "min"], Some(backoff.min));
    node.time(&["backoff", "max"], Some(backoff.max));
    node.time(&["backoff", "reset"], Some(backoff.reset));
}

fn fault(mut node: Node<'_, '_>, fault: &FaultConfig) {
    node.time(&["from"], Some(fault.from));
    node.time(&["until"], fault.until);
    match &fault.what {
        FaultWhatConfig::Script(_) => {}
        FaultWhatConfig::Mix { most } => node.count(&["most"], Some(*most), limits::MOST_MIXED),
        FaultWhatConfig::Kind { kind, when } => {
            match kind {
                FaultKindConfig::Hang { span } => node.time(&["for"], *span),
                FaultKindConfig::Slow { by, span } => {
                    node.time(&["by"], Some(*by));
                    node.time(&["for"], *span);
                }
                FaultKindConfig::Delay { by } => node.time(&["by"], Some(*by)),
                FaultKindConfig::Full { span } => node.time(&["for"], Some(*span)),
                FaultKindConfig::Panic { .. }
                | FaultKindConfig::Kill
                | FaultKindConfig::Stop
                | FaultKindConfig::Error { .. }
                | FaultKindConfig::Poison
                | FaultKindConfig::Drop
                | FaultKindConfig::Duplicate => {}
            }
            match when {
                WhenConfig::At(times) => {
                    node.time(&["when", "at"], times.iter().max().copied());
                }
                WhenConfig::Every(span) => node.time(&["when", "every"], Some(*span)),
                WhenConfig::Poisson(mean) => node.time(&["when", "poisson"], Some(*mean)),
                WhenConfig::Nth(_)
                | WhenConfig::Chance(_)
                | WhenConfig::Items(_)
                | WhenConfig::Share(_) => {}
            }
        }
    }
}

/// Estimated bytes of books queued on piles with a `generate` source. The book sizes of other
/// sources are unknown.
fn generated(config: &TopologyConfig) -> u64 {
    let piles = config.piles.iter().filter_map(|(name, pile)| {
        let source = pile.source.as_ref().filter(|source| source.kind == "generate")?;
        let option = |key: &str| source.options.get(key);
        let books = option("books").and_then(|books| u64::try_from(books.as_integer()?).ok());
        let size = match option("size") {
            Some(toml::Value::String(text)) => parse_size(text).ok()?,
            Some(size) => u64::try_from(size.as_integer()?).ok()?,
            None => 64,
        };
        let distinct = option("distinct").and_then(toml::Value::as_bool) == Some(true);
        let room = super::unfold::copies_of(config, name)
            .saturating_mul(pile.capacity.books.unwrap_or(u64::MAX));
        let waiting = books.unwrap_or(1000).min(room);
        let bodies = if distinct {
            let most = pile.capacity.bytes.unwrap_or(u64::MAX);
            waiting.saturating_mul(size).min(most)
        } else {
            size
        };
        Some(waiting.saturating_mul(memory::BOOK).saturating_add(bodies))
    });
    piles.fold(0, u64::saturating_add)
}

/// Checks totals over all copies, and warns if the topology needs more memory than this machine
/// has. False if a total is too large.
pub(super) fn sums(validator: &mut Validator<'_>, config: &TopologyConfig) -> bool {
    let copies = |name: &str| super::unfold::copies_of(config, name);
    let mut whole = true;
    let mut most = |validator: &mut Validator<'_>, path: &str, said: u64, most: u64, what: &str| {
        if said > most {
            let message = format!("{} {what} in all: at most {}", grouped(said), grouped(most));
            validator.ensure(false, &[path], &message);
            whole = false;
        }
    };
    let mut carts = 0u64;
    for (name, crew) in &config.crews {
        let own = copies(name).saturating_mul(product(&crew.copies));
        carts = carts.saturating_add(own.saturating_mul(crew.carts.count.into()));
    }
    most(validator, "crews", carts, limits::MOST_CARTS_IN_ALL, "carts");
    let (mut workers, mut places) = (0u64, 0u64);
    for (name, balancer) in &config.balancers {
        let own = u64::from(balancer.workers.count);
        workers = workers.saturating_add(copies(name).saturating_mul(own));
        let own = own.saturating_mul(balancer.workers.concurrency.into());
        places = places.saturating_add(copies(name).saturating_mul(own));
    }
    let what = "requests at a time";
    most(validator, "balancers", places, limits::MOST_PLACES_IN_ALL, what);
    let (mut clients, mut waiting) = (0u64, 0u64);
    // Bytes of each requester that serves HTTP, and what they are for.
    let mut connections: Vec<(u64, String)> = Vec::new();
    for (name, requester) in &config.requesters {
        match requester.load {
            LoadConfig::Closed { count, .. } => {
                clients = clients.saturating_add(copies(name).saturating_mul(count.into()));
            }
            LoadConfig::Batch { requests } => {
                let asked = config.balancers.get(&requester.to);
                let queue = asked.and_then(|balancer| balancer.queue);
                let most = requests.min(queue.map_or(u64::MAX, u64::from));
                waiting = waiting.saturating_add(copies(name).saturating_mul(most));
            }
            // A body that is too large is a mistake of its own.
            LoadConfig::Http(ref http) if http.body <= limits::LARGEST_BODY => {
                let all = copies(name).saturating_mul(http.connections.into());
                let bytes = all.saturating_mul(http.body.saturating_add(memory::CONNECTION));
                let (count, body, need) = (grouped(all), Size(http.body), memory::amount(bytes));
                connections.push((bytes, format!("{count} connections of {body} need {need}")));
            }
            LoadConfig::Open { .. } | LoadConfig::Http(_) => {}
        }
    }
    let what = "clients of closed loads";
    most(validator, "requesters", clients, limits::MOST_CLIENTS.into(), what);
    let actors = super::unfold::actors(config);
    let books = generated(config);
    let served = connections.iter().fold(0, |sum: u64, (bytes, _)| sum.saturating_add(*bytes));
    let need = memory::Need { carts, actors, places, clients, waiting, books, connections: served };
    if whole
        && let Some(machine) = memory::machine()
        && need.bytes() > machine
    {
        let message = format!(
            "this topology needs about {} of memory; this machine has {}",
            memory::amount(need.bytes()),
            memory::amount(machine)
        );
        let mut warning = validator.warning(&[need.largest()], message);
        // Connections count as far as they may: the other parts are needed in any case.
        if let Some((_, why)) = connections.into_iter().max().filter(|_| served > need.bytes() / 2)
        {
            warning = warning.help(format!("{why}: lower `connections` or `body`"));
        }
        validator.report(warning);
    }
    whole
}
