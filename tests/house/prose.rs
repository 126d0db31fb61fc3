//! Bans phrases from comments and Markdown that hide the subject of a sentence or say nothing.
//! CONTRIBUTING.md gives the rules of prose.

use std::fs;
use std::path::Path;

use super::tidy;

/// Banned sequences of words, whatever their case.
const BANNED: &[&str] = &[
    "who", "whoever", "whom", "nobody", "so many", "for ever", "is told", "are told", "is said",
    "are said",
];

/// Starts of sentences that refer to nothing in particular.
const VAGUE: &[&str] = &["The same,", "The same;", "The same."];

/// A paragraph of a comment or of Markdown: its lines with their numbers, without markers.
struct Block<'a> {
    lines: Vec<(usize, &'a str)>,
    /// A doc comment of its own.
    doc: bool,
}

/// The blocks of a Rust file: adjacent comments with the same marker, split at empty ones.
fn blocks_of_rust(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut last = (0, "");
    let mut fenced = false;
    for (line, comment) in tidy::split(text).1 {
        let marker = ["///", "//!"].into_iter().find(|marker| comment.starts_with(marker));
        let marker = marker.unwrap_or("//");
        let content = comment[marker.len()..].trim();
        let continues = last == (line - 1, marker);
        fenced &= continues;
        if content.starts_with("```") {
            fenced = !fenced;
        }
        if fenced || content.is_empty() || content.starts_with("```") {
            last = (line, marker);
            continue;
        }
        let open = blocks.last_mut().filter(|block| {
            continues && block.lines.last().is_some_and(|(above, _)| *above == line - 1)
        });
        match open {
            Some(block) => block.lines.push((line, content)),
            None => blocks.push(Block { lines: vec![(line, content)], doc: marker != "//" }),
        }
        last = (line, marker);
    }
    blocks
}

/// The paragraphs of a Markdown file, without code.
fn blocks_of_markdown(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut fenced = false;
    let mut open = false;
    for (at, content) in text.lines().enumerate() {
        let fence = content.trim_start().starts_with("```");
        fenced ^= fence;
        if fence || fenced || content.trim().is_empty() {
            open = false;
        } else if let Some(block) = blocks.last_mut().filter(|_| open) {
            block.lines.push((at + 1, content));
        } else {
            blocks.push(Block { lines: vec![(at + 1, content)], doc: false });
            open = true;
        }
    }
    blocks
}

/// The words of a block with their lines; code spans become one word without letters.
fn words<'a>(block: &Block<'a>) -> Vec<(usize, &'a str)> {
    let mut words = Vec::new();
    let mut code = false;
    for (line, content) in &block.lines {
        for (at, part) in content.split('`').enumerate() {
            code ^= at > 0;
            if code {
                words.push((*line, "`"));
            } else {
                words.extend(part.split_whitespace().map(|word| (*line, word)));
            }
        }
    }
    words
}

/// A word without its punctuation, in lower case.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// The banned phrases in a block.
fn mistakes(name: &str, block: &Block<'_>) -> Vec<String> {
    let words = words(block);
    let plain: Vec<String> = words.iter().map(|(_, word)| bare(word)).collect();
    let mut found = Vec::new();
    for at in 0..words.len() {
        let line = words[at].0;
        for phrase in BANNED {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            if plain[at..].len() >= phrase.len()
                && plain[at..].iter().zip(&phrase).all(|(a, b)| a == b)
            {
                found.push(format!("{name}:{line}: \"{}\": name the subject", phrase.join(" ")));
            }
        }
        let next = words.get(at + 1).map_or("", |(_, word)| word);
        if VAGUE.contains(&format!("{} {next}", words[at].1).as_str()) {
            found.push(format!("{name}:{line}: \"The same\": say what is alike, or refer to it"));
        }
    }
    if block.doc && says_nothing(&words) {
        let line = block.lines[0].0;
        found.push(format!("{name}:{line}: one noun says nothing: give unit, bound or reason"));
    }
    found
}

/// True for `Time.`, `Its name.` and the like.
fn says_nothing(words: &[(usize, &str)]) -> bool {
    let noun = match words {
        [(_, noun)] => noun,
        [(_, "Its" | "Their" | "The"), (_, noun)] => noun,
        _ => return false,
    };
    noun.strip_suffix('.').is_some_and(|noun| noun.chars().all(char::is_alphabetic))
}

#[test]
fn comments_and_pages_name_their_subjects() {
    let (mut sources, mut pages) = (Vec::new(), Vec::new());
    for folder in ["src", "actors", "tests", "examples", "benches"] {
        tidy::files(folder, "rs", &mut sources);
    }
    for folder in ["docs", "benches"] {
        tidy::files(folder, "md", &mut pages);
    }
    for page in ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        pages.push((page.to_owned(), fs::read_to_string(path).expect("a page")));
    }
    let mut found = Vec::new();
    for (name, text) in &sources {
        found.extend(blocks_of_rust(text).iter().flat_map(|block| mistakes(name, block)));
    }
    for (name, text) in &pages {
        found.extend(blocks_of_markdown(text).iter().flat_map(|block| mistakes(name, block)));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn banned_phrases_are_found_where_they_are() {
    let lines = |blocks: Vec<Block<'_>>| -> Vec<String> {
        blocks.iter().flat_map(|block| mistakes("x", block)).collect()
    };
    let rust = |text: &str| lines(blocks_of_rust(text)).len();
    assert_eq!(rust("/// Waits for\n/// ever.\nfn f() {}"), 1, "across lines");
    assert_eq!(rust("let a = 1; // Whoever asks gets it."), 1);
    assert_eq!(rust("//! Asks so many\n//! workers; nobody waits."), 2);
    assert_eq!(rust("/// The same, but later."), 1);
    assert_eq!(rust("/// Time.\na: u8,\n/// Its name.\nb: u8,"), 2);
    assert_eq!(rust("/// Time.\n///\n/// In seconds."), 1);
    assert_eq!(
        lines(blocks_of_rust("fn f() {}\n\n// What is told.")),
        lines(vec![Block { lines: vec![(3, "What is told.")], doc: false }])
    );
    assert_eq!(lines(blocks_of_markdown("# Books\n\nAll is\nsaid here.\n")).len(), 1);

    assert_eq!(rust("let a = \"// who is told\"; // whose name"), 0, "a string");
    assert_eq!(rust("/// `who` is the node.\n///\n/// ```\n/// // nobody\n/// ```"), 0, "code");
    assert_eq!(rust("// Time."), 0, "not a doc comment");
    assert_eq!(rust("/// The same seed, and the same trace."), 0);
    assert_eq!(lines(blocks_of_markdown("Use `who`.\n```\nnobody\n```\n")).len(), 0);
}
