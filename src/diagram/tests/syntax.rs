//! Strict parsers for the formats. They prove that user-provided text cannot break out of its
//! quotes.

use proptest::prelude::*;

use super::designs::*;
use super::*;

/// Parses a Graphviz picture; returns its quoted texts, or an error if it is malformed.
fn dot(drawn: &str) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    let mut open = Vec::new();
    let mut chars = drawn.chars();
    let mut bare = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                let mut text = String::new();
                loop {
                    match chars.next().ok_or("a text does not end")? {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('n') => text.push('\n'),
                            Some(c @ ('"' | '\\')) => text.push(c),
                            other => return Err(format!("\\{other:?}")),
                        },
                        '\n' => return Err("a text over two lines".into()),
                        c => text.push(c),
                    }
                }
                texts.push(text);
                bare.push_str("TEXT");
            }
            '{' | '[' => {
                open.push(c);
                bare.push(c);
            }
            '}' | ']' => {
                let pair = (open.pop(), c);
                if !matches!(pair, (Some('{'), '}') | (Some('['), ']')) {
                    return Err(format!("{pair:?}"));
                }
                bare.push(c);
            }
            c => bare.push(c),
        }
    }
    if !open.is_empty() {
        return Err(format!("{open:?} stay open"));
    }
    // Every line must be a statement that the drawing code writes.
    for line in bare.lines().map(str::trim) {
        let known = line == "}"
            || line.starts_with("digraph TEXT {")
            || line.starts_with("subgraph TEXT {")
            || line.starts_with("node [") && line.ends_with("];")
            || line.starts_with("edge [") && line.ends_with("];")
            || [
                "rankdir=LR;",
                "compound=true;",
                "labelloc=t;",
                "label=TEXT;",
                "fontname=TEXT;",
                "style=rounded;",
            ]
            .contains(&line)
            || line.starts_with("TEXT [") && line.ends_with("label=TEXT];")
            || line.starts_with("TEXT -> TEXT") && line.ends_with(';');
        let words = line.replace("TEXT", "");
        let plain = |c: char| c.is_ascii_alphanumeric() || " =[]{};->_,.".contains(c);
        if !known || !words.chars().all(plain) {
            return Err(format!("no statement: {line}"));
        }
    }
    Ok(texts)
}

/// Parses a Mermaid flowchart; returns the identifiers it declares, or an error if it is malformed.
fn mermaid(drawn: &str) -> Result<Vec<String>, String> {
    let mut lines = drawn.lines();
    if lines.next() != Some("---") {
        return Err("no head".into());
    }
    let title = lines.next().and_then(|line| line.strip_prefix("title: ")).ok_or("no title")?;
    serde_json::from_str::<String>(title).map_err(|error| error.to_string())?;
    if (lines.next(), lines.next()) != (Some("---"), Some("flowchart LR")) {
        return Err("no flowchart".into());
    }
    let (mut declared, mut used, mut depth) = (Vec::new(), Vec::new(), 0);
    for line in lines.map(str::trim) {
        let id = |text: &str| {
            let id: String = text.chars().take_while(char::is_ascii_alphanumeric).collect();
            let right = id.starts_with(['n', 'c', 'r']) && id.chars().any(|c| c.is_ascii_digit());
            if right { Ok(id) } else { Err(format!("no identifier: {line}")) }
        };
        if line == "end" {
            depth -= 1;
        } else if line.starts_with("classDef ") {
        } else if let Some(rest) = line.strip_prefix("class ") {
            used.push(id(rest)?);
        } else if let Some((from, to)) = ["-->", "-.->", "==>"]
            .iter()
            .find_map(|arrow| line.split_once(arrow))
            .filter(|_| !line.contains('"'))
        {
            for end in std::iter::once(from).chain(to.split("==>")) {
                let words = ["|load| ", "|unload| ", "|asks| "].into_iter();
                let end = words.fold(end.trim(), |end, word| end.trim_start_matches(word));
                used.push(id(end)?);
            }
        } else {
            let rest = line.strip_prefix("subgraph ").inspect(|_| depth += 1).unwrap_or(line);
            let name = id(rest)?;
            let shape = &rest[name.len()..];
            let pairs = [
                ("[/\"", "\"\\]"),
                ("[/\"", "\"/]"),
                ("[(\"", "\")]"),
                ("([\"", "\"])"),
                ("{{\"", "\"}}"),
                ("[[\"", "\"]]"),
                ("[\"", "\"]"),
                ("(\"", "\")"),
            ];
            let inner = pairs
                .iter()
                .find_map(|(open, close)| shape.strip_prefix(open)?.strip_suffix(close));
            let inner = inner.ok_or_else(|| format!("no shape: {line}"))?.replace("<br/>", "");
            if inner.contains(['"', '<', '>', '&', '`', '[', ']', '{', '}', '|', '\\']) {
                return Err(format!("not escaped: {line}"));
            }
            declared.push(name);
        }
    }
    if depth != 0 {
        return Err("a subgraph stays open".into());
    }
    let mut once = declared.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() != declared.len() {
        return Err("an identifier twice".into());
    }
    match used.iter().find(|id| !declared.contains(id)) {
        Some(id) => Err(format!("{id} is not declared")),
        None => Ok(declared),
    }
}

fn holds(config: &TopologyConfig) -> Result<(), String> {
    for copies in [Copies::Folded, Copies::Expanded] {
        dot(&draw(config, copies, Format::Dot))?;
        mermaid(&draw(config, copies, Format::Mermaid))?;
        let drawn = draw(config, copies, Format::Svg);
        roxmltree::Document::parse(&drawn).map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn nothing_breaks_out_of_its_text() {
    holds(&hostile()).unwrap();
    let drawn = draw(&hostile(), Copies::Folded, Format::Svg);
    let xml = roxmltree::Document::parse(&drawn).unwrap();
    let title = xml.descendants().find(|node| node.has_tag_name("title")).unwrap();
    assert_eq!(title.text(), Some(&*words::clean(HOSTILE)));
    let shown = |start: &str| {
        let mut texts = xml
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text());
        texts.any(|text| text.starts_with(start))
    };
    assert!(shown("a\"b'c<d>&amp;\\ ]]> --> `|#qu"));
    let texts = dot(&draw(&hostile(), Copies::Folded, Format::Dot)).unwrap();
    assert!(texts.iter().any(|text| text.contains(&words::clean(HOSTILE))));
}

#[test]
fn pictures_have_a_text_alternative() {
    let drawn = draw(&four_gophers(), Copies::Folded, Format::Svg);
    let xml = roxmltree::Document::parse(&drawn).unwrap();
    let root = xml.root_element();
    assert_eq!(root.attribute("role"), Some("img"));
    assert_eq!(root.attribute("viewBox").map(|sizes| sizes.split(' ').count()), Some(4));
    let told =
        xml.descendants().find(|node| node.has_tag_name("desc")).and_then(|node| node.text());
    let told = told.unwrap();
    assert!(told.contains("4 gophers, 4 carts"), "{told}");
    assert!(told.contains("crew haul from pile manuals to incinerator furnace"), "{told}");
    for outside in ["http", "script", "@import", "url("] {
        let drawn = drawn.replace("http://www.w3.org/2000/svg", "");
        assert!(!drawn.contains(outside), "{outside}");
    }
}

#[test]
fn planted_mistakes_are_caught() {
    let good = draw(&lanes(), Copies::Folded, Format::Dot);
    assert!(dot(&good).is_ok());
    for (from, to) in
        [("\"manuals\"", "manuals"), ("near\"", "ne\"ar\""), ("];", ";"), ("  }", "  ")]
    {
        assert!(dot(&good.replacen(from, to, 1)).is_err(), "{from}");
    }
    let good = draw(&lanes(), Copies::Folded, Format::Mermaid);
    assert!(mermaid(&good).is_ok());
    for (from, to) in [
        ("manuals<", "man\"uals<"),
        ("  n1", "  n0"),
        ("c0g0(\"", "c0g0[\""),
        ("  end", ""),
        ("n2{{", "end{{"),
    ] {
        assert!(mermaid(&good.replacen(from, to, 1)).is_err(), "{from}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_design_is_well_formed_and_drawn_the_same_twice(config in any_design()) {
        prop_assert_eq!(holds(&config), Ok(()));
        for format in FORMATS {
            let draw = || draw(&config, Copies::Expanded, format);
            prop_assert_eq!(draw(), draw());
        }
    }

    #[test]
    fn any_text_stays_where_it_is(text in "\\PC*|[\\x00-\\x7f]*") {
        let config = TopologyConfig::builder(text.clone())
            .pile("a", |pile| pile.source(crate::config::builder::kind(text.clone())))
            .incinerator("b", |fire| fire)
            .crew("c", "a", "b", |crew| crew.gophers(1, ALL).work(text.as_str()))
            .build();
        prop_assert_eq!(holds(&config), Ok(()));
    }
}
