//! The shapes of the pictures, defined once in `<defs>`. Each stays within the size declared here.

use std::fmt::Write as _;

use super::page::number;

/// Width and height in pixels.
pub const GOPHER: (f64, f64) = (44.0, 52.0);
/// Width and height of a full or an empty cart; the wheels touch its lower edge.
pub const CART: (f64, f64) = (50.0, 36.0);
/// Width and height of a node's shape.
pub const NODE: (f64, f64) = (132.0, 96.0);
/// Width and height of the belt that represents relays and requests.
pub const BELT: (f64, f64) = (150.0, 56.0);

const COVERS: [(&str, &str); 6] = [
    ("#c8553d", "#9c3f2c"),
    ("#4a7fa7", "#356080"),
    ("#6a994e", "#4f763a"),
    ("#e0a23b", "#b57f27"),
    ("#8a6bab", "#6a5088"),
    ("#3f9c94", "#2d756f"),
];

/// Rotation of the books in a heap, in degrees.
const LEAN: [i32; 7] = [-5, 3, 0, 6, -3, 2, -7];

pub fn defs() -> String {
    let mut out = String::new();
    let mut shape = |id: &str, body: &str| {
        let _ = writeln!(out, "<g id=\"gw-{id}\">{body}</g>");
    };
    shape("gopher", GOPHER_BODY);
    shape("full", &format!("{}{BARROW}", load()));
    shape("empty", &format!("<g transform=\"matrix(-1 0 0 1 50 0)\">{BARROW}</g>"));
    shape("pile", &heap(66.0, 92.0, 6));
    shape("dump", &format!("{}{PALLET}", heap(66.0, 74.0, 4)));
    shape("incinerator", FURNACE);
    shape("requester", &format!("<g transform=\"translate(44 40)\">{GOPHER_BODY}</g>"));
    shape("balancer", SCALES);
    shape("belt", &belt());
    out
}

/// Draws a book, seen from its spine, centred on `(x, y)`.
fn book(out: &mut String, x: f64, y: f64, wide: f64, tall: f64, cover: usize, lean: i32) {
    let (fill, edge) = COVERS[cover % COVERS.len()];
    let (left, top) = (x - wide / 2.0, y - tall / 2.0);
    let [cx, cy, w, h] = [x, y, wide, tall].map(number);
    let turn =
        if lean == 0 { String::new() } else { format!(" transform=\"rotate({lean} {cx} {cy})\"") };
    let _ = write!(
        out,
        "<g{turn}><rect x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{h}\" rx=\"1.5\" fill=\"{fill}\" \
         stroke=\"{edge}\"/>\
         <path d=\"M{} {}v{h}M{} {}v{h}\" stroke=\"#fff\" stroke-opacity=\".6\" \
         stroke-width=\"1.4\"/></g>",
        number(left),
        number(top),
        number(left + wide * 0.18),
        number(top),
        number(left + wide * 0.82),
        number(top),
    );
}

/// Draws a heap of books, `rows` high, whose lowest row rests on `ground`.
fn heap(middle: f64, ground: f64, rows: usize) -> String {
    const WIDE: f64 = 21.5;
    const TALL: f64 = 12.0;
    let mut out = String::new();
    for row in 0..rows {
        let count = rows - row;
        for at in 0..count {
            let seed = row * 3 + at * 2;
            let lean = if row == 0 { LEAN[at % 7] / 3 } else { LEAN[seed % 7] };
            let x = middle + (at as f64 - (count as f64 - 1.0) / 2.0) * WIDE;
            let y = ground - TALL / 2.0 - row as f64 * (TALL + 0.5);
            book(&mut out, x, y, WIDE - 1.0, TALL, seed + row / 2, lean);
        }
    }
    out
}

/// The books in a full cart.
fn load() -> String {
    let mut out = String::new();
    for (at, (x, y, lean)) in
        [(22.0, 13.5, -4), (35.0, 13.0, 5), (28.5, 5.8, -3)].into_iter().enumerate()
    {
        book(&mut out, x, y, 15.0, 8.0, at * 2 + 1, lean);
    }
    out
}

/// A pair of scales, for balancers.
const SCALES: &str = "<path d=\"M66 36V86M50 88H82\" stroke=\"#557a4c\" stroke-width=\"4\" \
                      stroke-linecap=\"round\"/>\
<path d=\"M26 44H106\" stroke=\"#557a4c\" stroke-width=\"4\" stroke-linecap=\"round\"/>\
<path d=\"M28 44L14 68H42ZM104 44L90 68H118Z\" fill=\"none\" stroke=\"#557a4c\" \
stroke-width=\"1.5\"/>\
<path d=\"M12 68H44Q28 84 12 68ZM88 68H120Q104 84 88 68Z\" fill=\"#d5ead0\" stroke=\"#557a4c\" \
stroke-width=\"1.5\"/>\
<circle cx=\"66\" cy=\"36\" r=\"5\" fill=\"#557a4c\"/>";

/// A cart that drives to the right.
const BARROW: &str = "<path d=\"M2 11L13 17\" stroke=\"#6d4526\" stroke-width=\"3\" \
                      stroke-linecap=\"round\"/>\
<path d=\"M10 15H48L43 28H15Z\" fill=\"#a8703f\" stroke=\"#6d4526\" stroke-width=\"1.5\" \
stroke-linejoin=\"round\"/>\
<path d=\"M12 19.5H46M14 24H44.5\" stroke=\"#6d4526\" stroke-opacity=\".45\"/>\
<circle cx=\"20\" cy=\"30\" r=\"5.5\" fill=\"#3d3f45\"/>\
<circle cx=\"20\" cy=\"30\" r=\"2\" fill=\"#d9d3c5\"/>\
<circle cx=\"38\" cy=\"30\" r=\"5.5\" fill=\"#3d3f45\"/>\
<circle cx=\"38\" cy=\"30\" r=\"2\" fill=\"#d9d3c5\"/>";

const GOPHER_BODY: &str = "<circle cx=\"10.5\" cy=\"9\" r=\"5.5\" fill=\"#9c7047\"/>\
                           <circle cx=\"33.5\" cy=\"9\" r=\"5.5\" fill=\"#9c7047\"/>\
<circle cx=\"10.5\" cy=\"9\" r=\"2.6\" fill=\"#e9b9a0\"/>\
<circle cx=\"33.5\" cy=\"9\" r=\"2.6\" fill=\"#e9b9a0\"/>\
<ellipse cx=\"14.5\" cy=\"49\" rx=\"6.5\" ry=\"2.8\" fill=\"#9c7047\"/>\
<ellipse cx=\"29.5\" cy=\"49\" rx=\"6.5\" ry=\"2.8\" fill=\"#9c7047\"/>\
<path d=\"M22 2.5C34 2.5 38.5 11 39 24C39.6 41 35 49.5 22 49.5C9 49.5 4.4 41 5 24C5.5 11 10 2.5 22 \
2.5Z\" fill=\"#bd8c5c\" stroke=\"#85592f\" stroke-width=\"1.2\"/>\
<ellipse cx=\"22\" cy=\"38\" rx=\"10.5\" ry=\"9.5\" fill=\"#ecd6b4\"/>\
<ellipse cx=\"5.5\" cy=\"33\" rx=\"3\" ry=\"4.8\" transform=\"rotate(18 5.5 33)\" \
fill=\"#9c7047\"/><ellipse cx=\"38.5\" cy=\"33\" rx=\"3\" ry=\"4.8\" transform=\"rotate(-18 38.5 \
33)\" fill=\"#9c7047\"/>\
<circle cx=\"14.5\" cy=\"16\" r=\"6.2\" fill=\"#fff\" stroke=\"#85592f\" stroke-width=\".8\"/>\
<circle cx=\"29.5\" cy=\"16\" r=\"6.2\" fill=\"#fff\" stroke=\"#85592f\" stroke-width=\".8\"/>\
<circle cx=\"16\" cy=\"16.8\" r=\"2.9\" fill=\"#26231f\"/>\
<circle cx=\"28\" cy=\"16.8\" r=\"2.9\" fill=\"#26231f\"/>\
<circle cx=\"17\" cy=\"15.7\" r=\".9\" fill=\"#fff\"/>\
<circle cx=\"29\" cy=\"15.7\" r=\".9\" fill=\"#fff\"/>\
<rect x=\"19\" y=\"27\" width=\"2.8\" height=\"5\" rx=\".8\" fill=\"#fff\" stroke=\"#b9a58a\" \
stroke-width=\".5\"/><rect x=\"22.2\" y=\"27\" width=\"2.8\" height=\"5\" rx=\".8\" fill=\"#fff\" \
stroke=\"#b9a58a\" stroke-width=\".5\"/>\
<ellipse cx=\"18.6\" cy=\"25.5\" rx=\"4.4\" ry=\"3.4\" fill=\"#ecd6b4\"/>\
<ellipse cx=\"25.4\" cy=\"25.5\" rx=\"4.4\" ry=\"3.4\" fill=\"#ecd6b4\"/>\
<ellipse cx=\"22\" cy=\"22.6\" rx=\"3\" ry=\"2.1\" fill=\"#3a2b20\"/>";

const PALLET: &str = "<rect x=\"14\" y=\"75\" width=\"104\" height=\"6\" rx=\"1\" fill=\"#c59a63\" \
                      stroke=\"#8a6638\"/>\
<rect x=\"18\" y=\"81\" width=\"14\" height=\"7\" fill=\"#a67c48\"/>\
<rect x=\"59\" y=\"81\" width=\"14\" height=\"7\" fill=\"#a67c48\"/>\
<rect x=\"100\" y=\"81\" width=\"14\" height=\"7\" fill=\"#a67c48\"/>\
<rect x=\"14\" y=\"87\" width=\"104\" height=\"5\" rx=\"1\" fill=\"#c59a63\" stroke=\"#8a6638\"/>";

const FURNACE: &str = "<path d=\"M84 24V3H102V24Z\" fill=\"#7a6258\" stroke=\"#51403a\"/>\
                       <rect x=\"81\" y=\"1\" width=\"24\" height=\"6\" rx=\"1.5\" \
                       fill=\"#51403a\"/>\
<path d=\"M14 92V42C14 28 30 20 66 20C102 20 118 28 118 42V92Z\" fill=\"#96766a\" \
stroke=\"#51403a\" stroke-width=\"1.5\"/>\
<path d=\"M22 33H110M16 44H116M15 56H36M96 56H117M15 68H34M98 68H117M15 80H34M98 80H117M40 \
24V33M66 21V33M92 24V33M28 33V44M54 33V38M78 33V38M104 33V44M24 44V56M108 44V56M30 56V68M104 \
56V68M22 68V80M110 68V80\" fill=\"none\" stroke=\"#51403a\" stroke-opacity=\".45\"/>\
<path d=\"M34 90V62C34 46 48 38 66 38C84 38 98 46 98 62V90Z\" fill=\"#2a1d1a\" stroke=\"#51403a\" \
stroke-width=\"2.5\"/>\
<path d=\"M40 90C36 76 46 72 45 60C53 65 53 72 54 75C55 62 62 58 63 46C72 54 71 64 74 71C77 68 78 \
62 77 57C88 64 94 78 91 90Z\" fill=\"#e8662c\"/>\
<path d=\"M49 90C47 80 54 78 54 70C60 75 59 79 61 81C62 73 66 70 66 62C73 69 71 76 74 80C76 77 77 \
75 77 71C83 77 84 84 82 90Z\" fill=\"#f8b133\"/>\
<path d=\"M58 90C57 84 62 82 62 77C66 80 66 82 67 83C69 80 69 78 69 75C74 80 75 85 73 90Z\" \
fill=\"#fdeb9c\"/>\
<rect x=\"8\" y=\"89\" width=\"116\" height=\"6\" rx=\"1.5\" fill=\"#51403a\"/>";

fn belt() -> String {
    let mut out = String::from(
        "<path d=\"M24 44V55M126 44V55\" stroke=\"#51545c\" stroke-width=\"5\"/>\
         <rect x=\"2\" y=\"26\" width=\"146\" height=\"20\" rx=\"10\" fill=\"#6b6f78\" \
         stroke=\"#44474e\" stroke-width=\"2\"/>",
    );
    for roller in 0..6 {
        let _ = write!(
            out,
            "<circle cx=\"{}\" cy=\"36\" r=\"6\" fill=\"#c9ccd2\" stroke=\"#44474e\"/>",
            12.5 + 25.0 * f64::from(roller)
        );
    }
    for (at, x) in [28.0, 62.0, 96.0, 126.0].into_iter().enumerate() {
        book(&mut out, x, 18.5, 24.0, 12.0, at + 1, 0);
    }
    out
}
