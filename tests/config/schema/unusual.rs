//! Valid configs that look unusual.

use super::*;

/// Valid changes to [`BASE`].
pub const UNUSUAL: &[&str] = &[
    "",
    "copies = 2",
    "copies = {}",
    "copies = { lane = 2, rack = 3 }\nshared = []",
    "copies = \"${env.LANES:-2}\"",
    "copies = { lane = 2 }\nshared = [\"middle\"]\ncrews.far.copies = 2",
    "copies.lane = 2\nshared = [\"furnace\", \"far\", \"third\"]\n\
     crews.far.from = \"middle[ lane = 1 ]\"\n\
     crews.third = { like = \"near\", from = \"middle[lane=+0]\", to = \"furnace\" }",
    "relays.belt = { from = \"middle\", to = \"furnace\" }",
    "piles.plain = { capacity = { bytes = \"1.5 mib\" }, max_attempts = 1 }\n\
     relays.belt = { from = \"middle\", to = \"plain\", books = 8 }\n\
     crews.third = { from = \"plain\", to = \"furnace\", gophers = [\"load push unload return\"], \
     carts.books = 2 }",
    "piles.manuals.capacity = 80",
    "piles.manuals.capacity = {}",
    "piles.manuals.capacity = { books = \"${env.BOOKS:-80}\", bytes = 1_000_000 }",
    "piles.manuals.capacity = \"${env.BOOKS:-80}\"",
    "piles.manuals.source.size = \" 64 KiB \"",
    "piles.manuals.source.size = 64",
    "piles.manuals.source = { books = \"${env.BOOKS:-1}\", distinct = \"${env.DISTINCT:-true}\", \
     size = \"${env.SIZE:-1KB}\" }",
    "piles.manuals.source = \"generate\"",
    "piles.manuals.source = \"${env.SOURCE:-generate}\"",
    "piles.manuals.source = { kind = \"lines\", path = \"-\" }",
    "piles.manuals.source = { kind = \"${env.SOURCE:-generate}\", size = \"1B\" }",
    "piles.manuals.exclusive = { load = \"${env.SLOTS:-1}\" }",
    "incinerators.furnace = { burn = { kind = \"count\" }, exclusive = {} }",
    "incinerators.furnace.burn = { kind = \"files\", root = \"${env.OUT:-out}\", \
     manifest = \"SHA256SUMS\", durable = false }",
    "incinerators.furnace.burn = { kind = \"command\", command = [\"sh\", \"-c\", \
     \"echo $HOME ${HOME}\"], per = \"cart\", timeout = \"1.5 h\", env = { A = \"b\", \
     B = \"${env.B:-}\" } }",
    "incinerators.furnace.burn = { kind = \"command\", command = [\"${env.SHELL:-sh}\"], \
     per = \"${env.PER:-book}\", timeout = \"${env.T:-2min}\" }",
    "crews.near.gophers = [\" load\\tpush unload return \", \"+2 * load push\", \
     \"03*unload return\", \"${env.MORE:-load}\"]",
    "crews.near.gophers = [\"${env.ALL:-load push unload return}\"]",
    "crews.near.gophers = [\"return\", \"unload\", \"push\", \"load\"]",
    "crews.near.work = \"gzip\"",
    "crews.near.work = []",
    "crews.near.work = { kind = \"gzip\", level = 0 }",
    "crews.near.work = \"${env.WORK:-sha256}\"",
    "crews.near.work = [\"sha256\", { kind = \"zstd\", level = \"${env.LEVEL:-22}\" }, \
     \"${env.WORK:-unzstd}\"]",
    "crews.near.steps = {}",
    "crews.near.steps = { load = \"1ms\", push = { wait = \"500us\", cpu = { uniform = [\"0s\", \
     \"10s\"] } }, unload = {}, return = { wait = { exponential = \"${env.MEAN:-1ms}\" } } }",
    "crews.near.steps = { load = \"5\u{b5}s\", push = \" 1_000 \u{3bc}s \" }",
    "crews.near.steps.load = \"${env.LOAD:-1ms}\"",
    "crews.near.steps.load = \".5s\"",
    "crews.near.steps.load = \"5.s\"",
    "crews.near.steps.load.wait.uniform = [\"1s\", \"${env.MOST:-2s}\"]\n\
     crews.far.steps.load.wait = {}",
    "crews.near.carts = { count = \"${env.CARTS:-2}\", bytes = \"0.5GB\" }",
    "crews.near.carts = {}",
    "crews.far.carts.count = 3",
    "crews.far.like = \"${env.LIKE:-near}\"",
    "crews.far = { gophers = [\"load push unload return\"], work = \"gzip\" }",
    "execution = { cores = 2, placement = \"spread\", seed = 0, scratch = \"/tmp\", \
     drain_deadline = \"0s\" }",
    "execution = { cores = \"${env.CORES:-2}\", placement = \"${env.HOW:-spread}\", \
     seed = \"${env.SEED:-7}\", scratch = \"${env.TMP:-/tmp}\", drain_deadline = \"${env.D:-1s}\" \
     }",
    "execution.scratch = 1979-05-27",
    "execution.seed = 9223372036854775807",
    "supervision = { strategy = \"rest_for_one\", intensity = 0, in_a_row = 0, shutdown = \"0s\", \
     period = \"1h\" }",
    "supervision.backoff = { min = \"0s\", max = \"0s\", jitter = 1, reset = \"1s\" }",
    "supervision.backoff.jitter = 0.5",
    "supervision.backoff.jitter = \"${env.JITTER:-0.5}\"",
    "balancers.front.workers.work = { kind = \"nap\", time = \"1 s\", dreams = \
     \"${env.DREAMS:-2}\" }",
    "balancers.front.workers = { count = \"${env.WORKERS:-2}\", concurrency = 2, \
     work = \"${env.WORK:-idle}\" }",
    "balancers.front.policy = \"two-choices\"",
    "balancers.front.policy = \"${env.POLICY:-random}\"",
    "balancers.front.policy = { kind = \"central\", per_worker = \"${env.PER:-2}\", \
     skip_slow = \"${env.SKIP:-true}\" }",
    "balancers.front = { workers.count = 4, policy = { kind = \"reserve\", workers = 3, \
     short = \"5 ms\", ageing = 0 } }",
    "balancers.front.policy = { kind = \"short-first\", ageing = 0.5 }",
    "balancers.front = { workers.count = 2, replicate = \"all\", idempotent = true }",
    "balancers.front = { workers.count = 3, replicate = \"${env.R:-2}\" }",
    "balancers.front = { workers.count = 3, hedge = \"30 ms\" }",
    "balancers.front = { workers.count = 3, hedge = { percentile = 0.95, budget = 1 }, \
     max_attempts = 5 }",
    "balancers.front = { queue = \"unbounded\", full = \"wait\", max_attempts = 1 }",
    "balancers.front = { queue = \"${env.Q:-unbounded}\", idempotent = \"${env.I:-false}\" }",
    "balancers.front = { queue = 1, full = \"reject\" }",
    "balancers.spare.workers.work = \"idle\"",
    "copies.lane = 2\nshared = [\"front\"]",
    "copies.lane = 2\nshared = [\"users\"]\nrequesters.users.to = \"front[ lane = 1 ]\"",
    "requesters.users = { load.requests = \"${env.N:-5}\", order = \"input\" }",
    "requesters.users.load = { kind = \"closed\", count = 100, think = { uniform = [\"0s\", \
     \"20s\"] }, requests = 5 }",
    "requesters.users.load = { kind = \"closed\", count = 1, think = \"1s\" }",
    "requesters.users.load = { kind = \"open\", rate = 0.5, arrivals = \"fixed\", requests = 5 }",
    "requesters.users.load = { kind = \"open\", utilisation = \"${env.U:-0.9}\" }",
    "crews.near.steps.load.wait = { lognormal = { mean = \"1ms\", cv2 = 10 } }\n\
     crews.far.steps.load.wait.lognormal.cv2 = \"${env.CV2:-2.5}\"",
    "crews.near.steps.load.cpu = { bimodal = { short = \"500us\", long = \"100ms\", \
     share = 0.005 } }",
    "model = {}",
    "model.t1 = \"4ms\"",
    "model.t1 = \" 1d 2h30min\"",
    "crews.near.steps = { load = \"1m1.5s\", push = \"36600d\" }",
    "piles.manuals.source.pattern = \"$${env.NAME} and $${env.X\"",
    "piles.manuals.capacity = { books = 1_000_000_000_000, bytes = \"1024TiB\" }",
    "model.t1 = \"${env.T1:-0.001s}\"",
];

#[test]
fn both_take_them() {
    let validator = validator();
    for changes in UNUSUAL {
        let tree = changed(changes);
        load(&tree).unwrap_or_else(|mistakes| panic!("`{changes}`: {mistakes}"));
        let found = complaints(&validator, &tree);
        assert!(found.is_empty(), "`{changes}`: {found:#?}");
    }
}

#[test]
fn a_file_with_a_parent_may_say_less() {
    let validator = validator();
    let judged = |text: &str| complaints(&validator, &table(text));
    for text in [
        "extends = \"base.toml\"",
        "extends = \"${env.BASE:-base.toml}\"\n\
         remove = [\"crews.far\", \"piles.'x'.source\", \"${env.GONE:-crews.near}\"]",
        "extends = \"base.toml\"\ncopies = 2\nshared = [\"middle\"]",
        "extends = \"base.toml\"\n[crews.near]\ngophers = [\"2 * load push unload return\"]\n\
         carts.count = 2",
        "extends = \"base.toml\"\n[crews.near.steps.load]\nwait = {}",
        "extends = \"base.toml\"\n[relays.belt]\nbooks = 1",
        "extends = \"base.toml\"\n[incinerators.furnace]\nexclusive = { unload = 1 }",
        "extends = \"base.toml\"\n[incinerators.furnace]\nburn = { root = \"out\" }",
        "extends = \"base.toml\"\n[incinerators.furnace]\nburn = \"files\"",
        "extends = \"base.toml\"\n[piles.manuals]\nsource = { books = 5 }",
        "extends = \"base.toml\"\n[balancers.front]\npolicy = \"round-robin\"",
        "extends = \"base.toml\"\n[balancers.front]\npolicy = { per_worker = 2 }",
        "extends = \"base.toml\"\n[balancers.front]\nhedge.budget = 0.1",
        "extends = \"base.toml\"\n[balancers.front.workers]\nwork = { time = \"1s\" }",
        "extends = \"base.toml\"\n[requesters.users]\nload.requests = 7",
        "extends = \"base.toml\"\n[requesters.users]\nload.think.lognormal.cv2 = 7",
    ] {
        assert_eq!(judged(text), [""; 0], "{text}");
        let orphan = text.split_once('\n').map_or("", |(_, rest)| rest);
        let orphan = orphan.replace("remove", "# ");
        assert_ne!(judged(&orphan), [""; 0], "{text}");
    }
    for text in [
        "extends = 1",
        "extends = \"base-${env.NAME:-x}.toml\"",
        "extends = \"base.toml\"\nremove = \"crews.far\"",
        "extends = \"base.toml\"\nremove = [\"crews..far\"]",
        "extends = \"base.toml\"\nremove = [1]",
        "extends = \"base.toml\"\n[crews.near]\ncarts.count = 0",
        "extends = \"base.toml\"\n[crews.near]\ngophers = [\"load\"]",
        "extends = \"base.toml\"\n[crews.near]\nwork = [{ level = 6 }]",
        "extends = \"base.toml\"\n[incinerators.furnace]\n\
         burn = { kind = \"files\", rot = \"out\" }",
        "extends = \"base.toml\"\n[dumps]\nX = {}",
        "extends = \"base.toml\"\n[balancers.front]\npolicy = \"fair\"",
        "extends = \"base.toml\"\n[balancers.front]\nhedge = { after = \"1s\", percentile = 0.5 }",
        "extends = \"base.toml\"\n[requesters.users]\n\
         load = { kind = \"open\", rate = 1, utilisation = 0.5 }",
    ] {
        assert_ne!(judged(text), [""; 0], "{text}");
    }
}

#[test]
fn both_refuse_a_design_that_moves_nothing() {
    let validator = validator();
    for gone in [
        &["piles"][..],
        &["incinerators"],
        &["crews"],
        &["balancers"],
        &["balancers", "piles", "incinerators", "crews", "dumps"],
        &["balancers", "requesters", "piles", "incinerators", "crews", "dumps"],
    ] {
        for empty in [false, true] {
            let mut tree = table(BASE);
            for key in gone {
                tree.remove(*key);
                if empty {
                    tree.insert((*key).to_owned(), Value::Table(Table::new()));
                }
            }
            assert!(load(&tree).is_err(), "{gone:?} {empty}");
            assert!(!complaints(&validator, &tree).is_empty(), "{gone:?} {empty}");
        }
    }
}

#[test]
fn an_interpolation_may_stand_for_any_value() {
    let validator = validator();
    let all = keys::properties();
    assert!(all.len() > 100, "{}", all.len());
    for (path, _) in all {
        let key: Vec<&str> = path.split('.').collect();
        let value = Value::from("${env.VALUE}");
        let over = key
            .iter()
            .rev()
            .fold(value, |below, key| Value::Table(Table::from_iter([((*key).to_owned(), below)])));
        let mut tree = table(&BASE.replace("capacity = 80", ""));
        lay(&mut tree, over.as_table().expect("a table").clone());
        let place = format!("/{}: ", key.join("/"));
        let found = complaints(&validator, &tree);
        assert!(!found.iter().any(|line| line.starts_with(&place)), "{found:#?}");
    }
    for (key, value) in [
        ("shared", "[\"furnace\"]"),
        ("dumps", "{ middle = { capacity = 80 } }"),
        ("crews.near.gophers", "[\"2 * load push unload return\"]"),
        ("crews.near.carts", "{ count = 2, books = 5 }"),
        ("crews.near.steps.load.wait.uniform", "[\"1ms\", \"2ms\"]"),
    ] {
        let tree = changed(&format!("{key} = \"${{env.VALUE}}\""));
        let found = complaints(&validator, &tree);
        assert!(found.is_empty(), "{key}: {found:#?}");
        let overrides = Overrides::default().variable("VALUE", value);
        let text = toml::to_string(&tree).expect("TOML");
        let loaded = Loaded::parse("design.toml", text, &catalog(), &overrides);
        loaded.unwrap_or_else(|mistakes| panic!("{key}: {mistakes}"));
    }
}
