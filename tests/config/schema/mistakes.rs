//! Mistakes that both schema and loader report, with their location.

use super::*;

/// Changes to [`BASE`], with the place of the wrong value or of its table.
const MISTAKES: &[(&str, &str)] = &[
    // Unknown keys.
    ("nonsense = 1", ""),
    ("piles.manuals.max_attempt = 4", "piles.manuals"),
    ("piles.manuals.exclusive.unload = 1", "piles.manuals.exclusive"),
    ("incinerators.furnace.exclusive.load = 1", "incinerators.furnace.exclusive"),
    ("crews.near.crats.count = 1", "crews.near"),
    ("crews.near.carts.size = 1", "crews.near.carts"),
    ("crews.near.steps.fly = \"1ms\"", "crews.near.steps"),
    ("crews.near.steps.load.time = \"1ms\"", "crews.near.steps.load"),
    ("supervision.backoff.least = \"1s\"", "supervision.backoff"),
    // Types.
    ("piles = 1", "piles"),
    ("piles.manuals = []", "piles.manuals"),
    ("dumps.middle.capacity = true", "dumps.middle.capacity"),
    ("dumps.middle.capacity = 1.5", "dumps.middle.capacity"),
    ("dumps.middle.capacity = \"80\"", "dumps.middle.capacity"),
    ("dumps.middle.exclusive = 1", "dumps.middle.exclusive"),
    ("crews.near.from = 1", "crews.near.from"),
    ("crews.near.carts.count = \"two\"", "crews.near.carts.count"),
    ("crews.near.carts.count = 1.5", "crews.near.carts.count"),
    ("crews.near.gophers = \"load push unload return\"", "crews.near.gophers"),
    ("crews.near.work = 6", "crews.near.work"),
    ("crews.far.like = 1", "crews.far.like"),
    ("shared = \"middle\"", "shared"),
    ("execution.scratch = 1", "execution.scratch"),
    ("supervision.backoff.jitter = \"much\"", "supervision.backoff.jitter"),
    // Names.
    ("piles.Spare = {}", "piles"),
    ("dumps.\"a-b\".capacity = 80", "dumps"),
    ("crews.near.from = \"Manuals\"", "crews.near.from"),
    ("crews.near.from = \"manuals[\"", "crews.near.from"),
    ("crews.near.from = \"manuals[lane]\"", "crews.near.from"),
    ("shared = [\"No node\"]", "shared.0"),
    ("copies.Lane = 2", "copies"),
    ("crews.near.copies.\"1st\" = 2", "crews.near.copies"),
    // Numbers out of range.
    ("piles.manuals.max_attempts = 0", "piles.manuals.max_attempts"),
    ("piles.manuals.max_attempts = 4294967296", "piles.manuals.max_attempts"),
    ("dumps.middle.capacity = 0", "dumps.middle.capacity"),
    ("piles.manuals.capacity.bytes = \"0B\"", "piles.manuals.capacity.bytes"),
    ("dumps.middle.exclusive.load = 0", "dumps.middle.exclusive.load"),
    ("crews.near.carts.count = 0", "crews.near.carts.count"),
    ("crews.near.carts.books = -1", "crews.near.carts.books"),
    ("crews.near.carts.bytes = 0", "crews.near.carts.bytes"),
    ("crews.near.carts.count = 4_000_000_000", "crews.near.carts.count"),
    ("execution.cores = 1025", "execution.cores"),
    ("balancers.front.max_attempts = 1_000_001", "balancers.front.max_attempts"),
    ("piles.manuals.source.size = 1_073_741_825", "piles.manuals.source.size"),
    ("copies = 0", "copies"),
    ("copies = 10_001", "copies"),
    ("crews.near.copies.rack = 0", "crews.near.copies.rack"),
    ("relays.belt = { from = \"middle\", to = \"furnace\", books = 0 }", "relays.belt.books"),
    ("execution.cores = 0", "execution.cores"),
    ("execution.seed = -1", "execution.seed"),
    ("supervision.intensity = -1", "supervision.intensity"),
    ("supervision.backoff.jitter = 1.5", "supervision.backoff.jitter"),
    ("supervision.period = \"0s\"", "supervision.period"),
    ("model.t1 = \"0ms\"", "model.t1"),
    // Kinds and their options.
    ("piles.manuals.source.kind = \"genrate\"", "piles.manuals.source.kind"),
    ("piles.manuals.source.boks = 1", "piles.manuals.source"),
    ("piles.manuals.source.books = \"many\"", "piles.manuals.source.books"),
    ("piles.manuals.source.books = -1", "piles.manuals.source.books"),
    ("piles.manuals.source.size = \"8XB\"", "piles.manuals.source.size"),
    ("piles.manuals.source = \"files\"", "piles.manuals.source"),
    ("incinerators.furnace.burn = \"cuont\"", "incinerators.furnace.burn"),
    ("incinerators.furnace.burn = { root = \"x\" }", "incinerators.furnace.burn"),
    ("incinerators.furnace.burn = { kind = \"files\" }", "incinerators.furnace.burn"),
    ("incinerators.furnace.burn = { kind = \"count\", root = \"x\" }", "incinerators.furnace.burn"),
    (
        "incinerators.furnace.burn = { kind = \"command\", command = [] }",
        "incinerators.furnace.burn.command",
    ),
    (
        "incinerators.furnace.burn = { kind = \"command\", command = [\"cat\"], per = \"pile\" }",
        "incinerators.furnace.burn.per",
    ),
    (
        "incinerators.furnace.burn = { kind = \"command\", command = [\"cat\"], \
         timeout = \"1 week\" }",
        "incinerators.furnace.burn.timeout",
    ),
    ("crews.near.work = \"gizp\"", "crews.near.work"),
    ("crews.near.work = [\"gzip\", { level = 6 }]", "crews.near.work.1"),
    ("crews.near.work = [{ kind = \"gzip\", level = 10 }]", "crews.near.work.0.level"),
    ("crews.near.work = { kind = \"zstd\", level = 0 }", "crews.near.work.level"),
    ("crews.near.work = [[\"gzip\"]]", "crews.near.work.0"),
    // Durations and sizes.
    ("crews.near.steps.load = 1", "crews.near.steps.load"),
    ("crews.near.steps.load = \"10\"", "crews.near.steps.load"),
    ("crews.near.steps.load = \"1 day\"", "crews.near.steps.load"),
    ("crews.near.steps.load = \"-1s\"", "crews.near.steps.load"),
    ("crews.near.steps.load.cpu = \"1.2.3s\"", "crews.near.steps.load.cpu"),
    ("crews.near.steps.load.wait = {}", "crews.near.steps.load.wait"),
    ("crews.near.steps.load.wait = { uniform = [\"1s\"] }", "crews.near.steps.load.wait.uniform"),
    ("crews.near.steps.load.wait = { uniform = \"1s\" }", "crews.near.steps.load.wait.uniform"),
    ("crews.near.steps.load.wait = { normal = \"1s\" }", "crews.near.steps.load.wait"),
    (
        "crews.near.steps.load.wait = { exponential = \"1s\", uniform = [\"1s\", \"2s\"] }",
        "crews.near.steps.load.wait",
    ),
    ("crews.near.carts.bytes = \"8XB\"", "crews.near.carts.bytes"),
    ("execution.drain_deadline = 30", "execution.drain_deadline"),
    ("supervision.backoff.min = \"s\"", "supervision.backoff.min"),
    // Words.
    ("execution.placement = \"scattered\"", "execution.placement"),
    ("supervision.strategy = \"one_for_none\"", "supervision.strategy"),
    // Gophers.
    ("crews.near.gophers = []", "crews.near.gophers"),
    ("crews.near.gophers = [\"load psh unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"load push unload return\", \"\"]", "crews.near.gophers.1"),
    ("crews.near.gophers = [\"load load push unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"0 * load push unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"x * load push unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"1000000 * load push unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"2 * \", \"load push unload return\"]", "crews.near.gophers.0"),
    ("crews.near.gophers = [\"load push\", \"unload\"]", "crews.near.gophers"),
    ("crews.near.gophers = [1]", "crews.near.gophers.0"),
    // Interpolation in a part of a value.
    ("execution.scratch = \"/tmp/${env.NAME}\"", "execution.scratch"),
    ("execution.cores = \"${env.A-B:-1}\"", "execution.cores"),
    ("crews.near.to = \"${env.TO:-mid}dle\"", "crews.near.to"),
    ("piles.manuals.source.pattern = \"a${env.NAME:-b}\"", "piles.manuals.source.pattern"),
    // Balancers.
    ("balancers.front.polcy = \"random\"", "balancers.front"),
    ("balancers.front.policy = \"centrl\"", "balancers.front.policy"),
    ("balancers.front.policy = 1", "balancers.front.policy"),
    ("balancers.front.policy = { kind = \"fair\" }", "balancers.front.policy.kind"),
    ("balancers.front.policy = { kind = \"random\", per_worker = 1 }", "balancers.front.policy"),
    (
        "balancers.front.policy = { kind = \"central\", per_worker = 0 }",
        "balancers.front.policy.per_worker",
    ),
    (
        "balancers.front.policy = { kind = \"central\", skip_slow = \"yes\" }",
        "balancers.front.policy.skip_slow",
    ),
    (
        "balancers.front.policy = { kind = \"short-first\", ageing = -0.1 }",
        "balancers.front.policy.ageing",
    ),
    ("balancers.front.policy = \"reserve\"", "balancers.front.policy"),
    ("balancers.front.policy = { kind = \"reserve\", workers = 1 }", "balancers.front.policy"),
    (
        "balancers.front.policy = { kind = \"reserve\", workers = 1, short = \"0s\" }",
        "balancers.front.policy.short",
    ),
    ("balancers.front.replicate = 1", "balancers.front.replicate"),
    ("balancers.front.replicate = \"some\"", "balancers.front.replicate"),
    ("balancers.front.replicate = true", "balancers.front.replicate"),
    ("balancers.front.hedge = \"0s\"", "balancers.front.hedge"),
    ("balancers.front.hedge = 30", "balancers.front.hedge"),
    ("balancers.front.hedge = {}", "balancers.front.hedge"),
    ("balancers.front.hedge = { after = \"1s\", percentile = 0.9 }", "balancers.front.hedge"),
    ("balancers.front.hedge = { percentile = 95 }", "balancers.front.hedge.percentile"),
    ("balancers.front.hedge = { after = \"1s\", budget = 0 }", "balancers.front.hedge.budget"),
    ("balancers.front = { workers.count = 3, replicate = 2, hedge = \"1s\" }", "balancers.front"),
    ("balancers.front.queue = 0", "balancers.front.queue"),
    ("balancers.front.queue = \"1024\"", "balancers.front.queue"),
    ("balancers.front.full = \"drop\"", "balancers.front.full"),
    ("balancers.front.idempotent = 1", "balancers.front.idempotent"),
    ("balancers.front.max_attempts = 0", "balancers.front.max_attempts"),
    ("balancers.front.workers.count = 0", "balancers.front.workers.count"),
    ("balancers.front.workers.count = 100001", "balancers.front.workers.count"),
    ("balancers.front.workers.concurrency = 0", "balancers.front.workers.concurrency"),
    ("balancers.front.workers.work = \"idel\"", "balancers.front.workers.work"),
    (
        "balancers.front.workers.work = { kind = \"nap\", time = \"1s\", snore = true }",
        "balancers.front.workers.work",
    ),
    ("balancers.front.workers.work = { kind = \"nap\" }", "balancers.front.workers.work"),
    ("balancers.spare.workers = 4", "balancers.spare.workers"),
    ("balancers.spare = {}", "balancers.spare"),
    ("balancers.spare.workers = {}", "balancers.spare.workers"),
    // Missing keys.
    ("piles.manuals.source = { books = 1 }", "piles.manuals.source"),
    ("incinerators.spare = {}", "incinerators.spare"),
    ("crews.third = { from = \"manuals\", to = \"middle\" }", "crews.third"),
    ("relays.belt = { from = \"middle\" }", "relays.belt"),
];

/// A path without indexes, which the loader counts differently.
fn bare(path: &str) -> String {
    let keys = path.split(['/', '.', '[', ']']);
    let keys = keys.filter(|key| !key.is_empty() && key.parse::<usize>().is_err());
    keys.collect::<Vec<_>>().join(".")
}

#[test]
fn both_see_every_mistake_in_its_place() {
    let validator = validator();
    assert!(complaints(&validator, &table(BASE)).is_empty());
    load(&table(BASE)).expect("a right design");
    let mut wrong = Vec::new();
    for (changes, place) in
        MISTAKES.iter().chain(super::faults::MISTAKES).chain(super::requesters::MISTAKES)
    {
        let mut tree = changed(changes);
        if changes.contains("source = { books") {
            // A merge would keep the old kind.
            tree["piles"]["manuals"]["source"].as_table_mut().expect("a source").remove("kind");
        }
        let found = complaints(&validator, &tree);
        let pointer: String = place.split_terminator('.').map(|key| format!("/{key}")).collect();
        if !found.iter().any(|line| line.starts_with(&format!("{pointer}: "))) {
            wrong.push(format!("the schema on `{changes}`: {found:#?}"));
        }
        match load(&tree) {
            Ok(_) => wrong.push(format!("the loader takes `{changes}`")),
            Err(mistakes) => {
                let bare = bare(place);
                // A mistake that `far` inherits from `near` is reported for the first of them.
                let like = bare.replace("crews.near", "crews.far");
                let here = |path: &str| path.starts_with(&bare) || path.starts_with(&like);
                if !mistakes.iter().any(|mistake| here(&self::bare(&mistake.path))) {
                    wrong.push(format!("the loader on `{changes}`: {mistakes}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
