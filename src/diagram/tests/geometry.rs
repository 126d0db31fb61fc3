//! Parses SVG pictures and checks that nothing overlaps or leaves the page.

use proptest::prelude::*;

use super::designs::*;
use super::*;

/// A box (left, top, right, bottom) and a description of its content.
#[derive(Debug, Clone)]
struct DrawnItem {
    sides: [f64; 4],
    what: String,
}

impl DrawnItem {
    fn meets(&self, other: &Self) -> bool {
        let ([a, b, c, d], [e, f, g, h]) = (self.sides, other.sides);
        a < g && e < c && b < h && f < d
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        let [left, top, right, bottom] = self.sides;
        left < x && x < right && top < y && y < bottom
    }
}

/// The elements of a parsed picture.
#[derive(Debug, Default)]
struct Seen {
    page: [f64; 2],
    texts: Vec<DrawnItem>,
    shapes: Vec<DrawnItem>,
    panels: Vec<DrawnItem>,
    /// The grounds of workers. They lie in the panel of a shared balancer.
    teams: Vec<DrawnItem>,
    /// Sampled points of each line between figures.
    lines: Vec<Vec<(f64, f64)>>,
}

impl Seen {
    fn read(drawn: &str) -> Self {
        let xml = roxmltree::Document::parse(drawn).unwrap();
        let mut seen = Self::default();
        for node in xml.root_element().children().filter(roxmltree::Node::is_element) {
            let number = |key: &str| -> f64 {
                node.attribute(key).map_or(0.0, |text| text.parse().unwrap())
            };
            let (x, y) = (number("x"), number("y"));
            let class = node.attribute("class").unwrap_or("");
            match node.tag_name().name() {
                "text" => {
                    // DejaVu Sans is among the widest fonts that a viewer may use.
                    let (size, share) = match class {
                        "gw-title" => (20.0, 0.62),
                        "gw-name" => (14.0, 0.64),
                        "gw-duty" => (12.0, 0.57),
                        "gw-small" => (11.0, 0.56),
                        "gw-badge" => (11.0, 0.62),
                        other => panic!("a text of the class {other}"),
                    };
                    let text = node.text().unwrap_or("");
                    let wide = words::columns(text) as f64 * size * share;
                    let left = match node.attribute("text-anchor") {
                        Some("middle") => x - wide / 2.0,
                        _ => x,
                    };
                    let sides = [left, y - size * 0.78, left + wide, y + size * 0.2];
                    seen.texts.push(DrawnItem { sides, what: text.to_owned() });
                }
                "use" if node.attribute("opacity").is_none() => {
                    let id = node.attribute("href").unwrap();
                    // Gophers of one group touch, so their box is smaller than the shape.
                    let [left, top, wide, tall] = match id {
                        "#gw-gopher" => [3.0, 3.0, 38.0, 46.0],
                        "#gw-full" | "#gw-empty" => [1.0, 2.0, 48.0, 33.0],
                        "#gw-pile" | "#gw-incinerator" => [1.0, 2.0, 130.0, 92.0],
                        "#gw-dump" => [14.0, 26.0, 104.0, 66.0],
                        "#gw-requester" => [47.0, 43.0, 38.0, 46.0],
                        "#gw-balancer" => [12.0, 31.0, 108.0, 57.0],
                        "#gw-belt" => [2.0, 12.0, 146.0, 43.0],
                        other => panic!("a shape {other}"),
                    };
                    let sides = [x + left, y + top, x + left + wide, y + top + tall];
                    seen.shapes.push(DrawnItem { sides, what: id.to_owned() });
                }
                "rect" if class == "gw-page" => seen.page = [number("width"), number("height")],
                "rect" if class == "gw-team" => {
                    let sides = [x, y, x + number("width"), y + number("height")];
                    seen.teams.push(DrawnItem { sides, what: class.to_owned() });
                }
                "rect" if class == "gw-panel" || class == "gw-meet" => {
                    let sides =
                        [x + 1.0, y + 1.0, x + number("width") - 1.0, y + number("height") - 1.0];
                    seen.panels.push(DrawnItem { sides, what: class.to_owned() });
                }
                "path" if class == "gw-line" || class == "gw-ask" => {
                    seen.lines.push(points(node.attribute("d").unwrap()))
                }
                _ => {}
            }
        }
        seen
    }

    /// Everything that overlaps or lies outside the page.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let everything = [&self.texts, &self.shapes, &self.panels, &self.teams];
        for place in everything.into_iter().flatten() {
            let [left, top, right, bottom] = place.sides;
            if left < 0.0 || top < 0.0 || right > self.page[0] || bottom > self.page[1] {
                faults.push(format!("outside {:?}: {place:?}", self.page));
            }
        }
        let solid: Vec<&DrawnItem> = self.texts.iter().chain(&self.shapes).collect();
        for group in [solid, self.panels.iter().collect(), self.teams.iter().collect()] {
            for (at, one) in group.iter().enumerate() {
                for other in &group[at + 1..] {
                    if one.meets(other) {
                        faults.push(format!("{one:?} is on {other:?}"));
                    }
                }
            }
        }
        for point in self.lines.iter().flatten() {
            let across = everything.into_iter().flatten().find(|place| place.holds(*point));
            if let Some(place) = across {
                faults.push(format!("a line at {point:?} is on {place:?}"));
            }
        }
        faults
    }
}

/// Samples points along `M x y H x` or `M x y C x1 y1 x2 y2 x y`.
fn points(d: &str) -> Vec<(f64, f64)> {
    let spaced = d.replace('M', "").replace('H', " H ").replace('C', " C ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let number = |at: usize| -> f64 { words[at].parse().unwrap() };
    let start = (number(0), number(1));
    let [one, two, end] = match words[2] {
        "H" => [start, (number(3), start.1), (number(3), start.1)],
        _ => [3, 5, 7].map(|at| (number(at), number(at + 1))),
    };
    let mix = |t: f64, a: f64, b: f64, c: f64, d: f64| {
        let s = 1.0 - t;
        s * s * s * a + 3.0 * s * s * t * b + 3.0 * s * t * t * c + t * t * t * d
    };
    let steps = (0..=24).map(|step| f64::from(step) / 24.0);
    steps
        .map(|t| (mix(t, start.0, one.0, two.0, end.0), mix(t, start.1, one.1, two.1, end.1)))
        .collect()
}

fn faults(config: &TopologyConfig) -> Vec<String> {
    let pictures =
        [Copies::Folded, Copies::Expanded].map(|copies| draw(config, copies, Format::Svg));
    pictures.iter().flat_map(|drawn| Seen::read(drawn).faults()).collect()
}

#[test]
fn nothing_overlaps_in_the_designs_of_the_document() {
    for config in
        [one_gopher(), four_gophers(), lanes(), shared(), relay(), chain(9), hostile(), asking()]
    {
        assert_eq!(faults(&config), [""; 0], "{}", config.name);
    }
}

#[test]
fn sixteen_gophers_fit_a_page() {
    let seen = Seen::read(&draw(&lanes(), Copies::Expanded, Format::Svg));
    assert!(seen.page[0] < 1600.0 && seen.page[1] < 900.0, "{:?}", seen.page);
    // Two lanes of equal layout, one above the other.
    let mut gophers: Vec<[i64; 2]> = seen
        .shapes
        .iter()
        .filter(|shape| shape.what == "#gw-gopher")
        .map(|shape| [shape.sides[0] as i64, shape.sides[1] as i64])
        .collect();
    gophers.sort_unstable();
    for pair in gophers.chunks(2).filter(|pair| pair[0][0] == pair[1][0]) {
        assert!(pair[1][1] - pair[0][1] > 50, "{pair:?}");
    }
}

#[test]
fn planted_overlaps_are_caught() {
    let drawn = draw(&four_gophers(), Copies::Folded, Format::Svg);
    let texts = Seen::read(&drawn).texts;
    assert!(texts.iter().any(|text| text.what == "haul"));
    for (from, to) in [
        (">haul<", &*format!(">{}<", "x".repeat(200))),
        ("href=\"#gw-full\"", "href=\"#gw-pile\""),
        ("<rect class=\"gw-page\" width=\"", "<rect class=\"gw-page\" width=\"0."),
        ("class=\"gw-line\" d=\"M", "class=\"gw-line\" d=\"M9 250H700\"/><path d=\"M"),
    ] {
        assert!(drawn.contains(from), "{from}");
        assert!(!Seen::read(&drawn.replacen(from, to, 1)).faults().is_empty(), "{from}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_overlaps_in_any_design(config in any_design()) {
        let faults = faults(&config);
        prop_assert!(faults.is_empty(), "{:#?}", faults);
    }
}
