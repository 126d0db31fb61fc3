//! The alert rules and the dashboard use metrics and labels that exist.
#![cfg(feature = "http")]

use std::collections::BTreeMap;

use gopherworks::web::metrics_reference;
use serde_json::Value;

/// Labels that Prometheus adds, or that belong to histograms.
const ADDED: [&str; 3] = ["instance", "job", "le"];

fn file(name: &str) -> String {
    let path = format!("{}/docs/monitoring/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a file")
}

/// The labels of each metric, by its name.
fn metrics() -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    let page = metrics_reference();
    for row in page.lines().filter(|line| line.starts_with("| `gopherworks_")) {
        let cells: Vec<&str> = row.trim_start_matches("| ").split(" | ").collect();
        let name = cells[0].trim_matches('`').to_owned();
        let labels = cells[2].split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels: Vec<String> = labels.chain(["topology".to_owned()]).collect();
        if cells[1] == "histogram" {
            for part in ["bucket", "sum", "count"] {
                all.insert(format!("{name}_{part}"), labels.clone());
            }
        }
        all.insert(name, labels);
    }
    all
}

/// The words of an expression, outside its strings.
fn words(text: &str) -> Vec<&str> {
    let code = text.split('"').step_by(2);
    code.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_')).collect()
}

/// The metrics of an expression and the labels that it uses.
fn judged(expression: &str) -> usize {
    let known = metrics();
    let used: Vec<&str> =
        words(expression).into_iter().filter(|word| word.starts_with("gopherworks_")).collect();
    assert!(!used.is_empty(), "{expression}");
    for name in &used {
        assert!(known.contains_key(*name), "{name} in {expression}");
    }
    let labels: Vec<&String> = used.iter().flat_map(|name| &known[*name]).collect();
    let has = |label: &str| ADDED.contains(&label) || labels.iter().any(|known| *known == label);
    let lists = expression.split(" by (").skip(1).chain(expression.split(" on (").skip(1));
    for list in lists {
        for label in list.split(')').next().expect("an end").split(", ") {
            assert!(has(label), "`{label}` in {expression}");
        }
    }
    for selector in expression.split('{').skip(1) {
        for label in selector.split('}').next().expect("an end").split(", ") {
            let label = label.split(['=', '!']).next().expect("a label");
            assert!(has(label), "`{label}` in {expression}");
        }
    }
    used.len()
}

#[test]
fn alert_rules_use_metrics_that_exist() {
    let text = file("alerts.yml");
    // A folded scalar goes on in lines that are indented deeper than its key.
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    assert!(rules.len() >= 8, "{}", rules.len());
    for rule in rules {
        let expression = rule.split("expr:").nth(1).expect("an expression");
        let end = expression.find("labels:").expect("labels");
        let expression = expression[..end].split(" for: ").next().expect("an expression");
        let lines = expression.trim().trim_start_matches(">-").split_whitespace();
        judged(&lines.collect::<Vec<_>>().join(" "));
        let summary = rule.split("summary: ").nth(1).expect("a summary");
        for label in summary.split("$labels.").skip(1) {
            let label = label.split(|c: char| !c.is_alphanumeric()).next().expect("a label");
            assert!(expression.contains("gopherworks_"), "{rule}");
            let known = metrics();
            let mut used = words(expression).into_iter().filter_map(|word| known.get(word));
            assert!(
                used.any(|labels| labels.iter().any(|known| known == label)),
                "{label}: {rule}"
            );
        }
    }
}

#[test]
fn the_dashboard_uses_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut used = 0;
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        used += judged(target["expr"].as_str().expect("an expression"));
    }
    assert!(used >= 14, "{used}");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let query = variables[1]["query"]["query"].as_str().expect("a query");
    assert!(metrics().contains_key(words(query)[1]), "{query}");
}

#[test]
#[should_panic(expected = "`colour` in")]
fn an_unknown_label_is_found() {
    judged("sum by (topology) (gopherworks_books_total{colour=\"red\"})");
}

#[test]
#[should_panic(expected = "gopherworks_boks_total in")]
fn an_unknown_metric_is_found() {
    judged("rate(gopherworks_boks_total[5m])");
}
