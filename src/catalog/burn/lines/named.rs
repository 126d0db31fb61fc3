//! Files of lines whose names come from the books, below one folder.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use gopherworks_pipeline::book::Book;
use gopherworks_supervision::failure::Failure;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::super::super::locks::Locked;
use super::super::super::{Site, names};
use super::described;
use super::output::{Beginning, Regular};

/// Longest name, in bytes.
const LONGEST: usize = 1024;

/// The name of a file with headers of its book in it, such as `{day}/{level}.jsonl.gz`.
#[derive(Debug, Clone)]
pub(super) struct NameTemplate(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Header(String),
}

impl NameTemplate {
    fn new(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let header = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((header, after)) = header.filter(|(name, _)| !name.is_empty()) else {
                return Err("a header is written as `{name}`".to_owned());
            };
            parts.push(Part::Header(header.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        let template = Self(parts);
        // Headers stand for names that are allowed.
        checked(template.name(|_| Some(Cow::Borrowed("x")))?)?;
        Ok(template)
    }

    fn name<'a>(&self, of: impl Fn(&str) -> Option<Cow<'a, str>>) -> Result<String, String> {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Header(header) => {
                    name.push_str(&of(header).ok_or_else(|| format!("no header `{header}`"))?);
                }
            }
        }
        Ok(name)
    }

    /// The name of the book's file.
    fn of(&self, book: &Book) -> Result<PathBuf, Failure> {
        let header = |name: &str| Some(String::from_utf8_lossy(book.headers.get(name)?));
        self.name(header).and_then(checked).map_err(|why| {
            Failure::permanent(format!("the name of the file of {}: {why}", described(book)))
        })
    }
}

/// Refuses a name that is not one of a file below the folder.
fn checked(name: String) -> Result<PathBuf, String> {
    let shown = || names::shown(name.as_bytes());
    if name.len() > LONGEST {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    if name.contains(char::is_control) {
        return Err(format!("`{}` has a control character", shown()));
    }
    let parts = name.split('/');
    if parts.into_iter().any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("`{}` is not a file below the folder", shown()));
    }
    let path = PathBuf::from(&name);
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(path),
        false => Err(format!("`{}` is not a file below the folder", shown())),
    }
}

impl<'de> Deserialize<'de> for NameTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let template = Self::new(&text).map_err(serde::de::Error::custom)?;
        if cfg!(not(feature = "gzip")) && text.ends_with(".gz") {
            let why = "files that end in .gz need gopherworks with the feature `gzip`";
            return Err(serde::de::Error::custom(why));
        }
        Ok(template)
    }
}

impl JsonSchema for NameTemplate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "NameTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The files of a folder that are open, and how to open others.
#[derive(Debug)]
pub(super) struct NamedFiles {
    template: NameTemplate,
    dir: Dir,
    root: PathBuf,
    /// The file used last is the last one.
    open: Vec<(PathBuf, Regular)>,
    /// Maximum number of open files (>= 1).
    most: usize,
}

impl NamedFiles {
    /// Opens the folder, which is made if it is missing.
    pub(super) fn open(
        root: &Path,
        template: NameTemplate,
        most: usize,
        site: &Site,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        site.state.writes(&root.canonicalize()?);
        Ok(Self { template, dir, root: root.to_owned(), open: Vec::new(), most })
    }

    /// Writes the lines of each file together, in the order of the books. Returns one result per
    /// book; if a file fails, it is truncated to its length before the cart, and its books fail
    /// with `refused`.
    pub(super) fn write(
        &mut self,
        books: &[&Book],
        line: impl Fn(&Book) -> Result<Bytes, Failure>,
        refused: impl Fn(&Path, &io::Error) -> Failure,
    ) -> Vec<Result<(), Failure>> {
        let mut results = vec![Ok(()); books.len()];
        let mut files: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (at, book) in books.iter().enumerate() {
            match self.template.of(book) {
                Ok(name) => files.entry(name).or_default().push(at),
                Err(failure) => results[at] = Err(failure),
            }
        }
        for (name, places) in files {
            let own: Vec<&Book> = places.iter().map(|at| books[*at]).collect();
            let written = match self.file(&name) {
                Ok(Ok(file)) => file.write(&own, &line),
                Ok(Err(failure)) => {
                    places.iter().for_each(|at| results[*at] = Err(failure.clone()));
                    continue;
                }
                Err(error) => Err(error),
            };
            let path = self.root.join(&name);
            match written {
                Ok(written) => {
                    places.iter().zip(written).for_each(|(at, result)| results[*at] = result);
                }
                Err(error) => {
                    places.iter().for_each(|at| results[*at] = Err(refused(&path, &error)));
                }
            }
        }
        results
    }

    /// The open file of this name; opens it, and closes the file that was not used for the longest
    /// time if there are too many.
    fn file(&mut self, name: &Path) -> io::Result<Result<&mut Regular, Failure>> {
        match self.open.iter().position(|(known, _)| known == name) {
            Some(at) => {
                let file = self.open.remove(at);
                self.open.push(file);
            }
            None => {
                if self.open.len() >= self.most {
                    // What was written has to last once the acks are stored.
                    self.open[0].1.sync()?;
                    self.open.remove(0);
                }
                if let Some(folder) = name.parent().filter(|folder| !folder.as_os_str().is_empty())
                {
                    self.dir.create_dir_all(folder)?;
                }
                let mut options = OpenOptions::new();
                options.read(true).append(true).create(true);
                // Do not block if the name is that of a fifo.
                options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
                let file = self.dir.open_with(name, &options)?.into_std();
                if !file.metadata()?.is_file() {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
                }
                let path = self.root.join(name);
                let claimed = Locked::claim(file, |holder| {
                    format!(
                        "{}: {holder} writes to it; only one node of one run can",
                        path.display()
                    )
                });
                match claimed {
                    Ok(file) => {
                        let gzip = name.extension().is_some_and(|end| end == "gz");
                        let beginning = Beginning::Append;
                        let file = Regular { file, path, beginning, gzip };
                        self.open.push((name.to_owned(), file));
                    }
                    Err(failure) => return Ok(Err(failure)),
                }
            }
        }
        let last = self.open.last_mut().map(|(_, file)| file);
        Ok(Ok(last.expect("the file was put there")))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.iter().try_for_each(|(_, file)| file.sync())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.open.drain(..).try_for_each(|(_, mut file)| file.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_makes_names_below_the_folder_only() {
        let book = Book::new("").with_header("day", "2026-01-02").with_header("up", "../x");
        let name = |template: &str| {
            let template = NameTemplate::new(template)?;
            template.of(&book).map_err(|failure| failure.reason().to_owned())
        };
        assert_eq!(name("{day}/a.{day}.gz").unwrap(), Path::new("2026-01-02/a.2026-01-02.gz"));
        for (bad, why) in [
            ("/{day}", "not a file below"),
            ("../{day}", "not a file below"),
            ("{up}", "not a file below"),
            ("a/{up}/b", "not a file below"),
            ("{day}/", "not a file below"),
            ("", "not a file below"),
            ("{none}", "no header `none`"),
            ("{", "`{name}`"),
            ("a}b", "`{name}`"),
            ("{}", "`{name}`"),
        ] {
            assert!(name(bad).unwrap_err().contains(why), "{bad}");
        }
        let control = book.clone().with_header("day", "a\nb");
        assert!(NameTemplate::new("{day}").unwrap().of(&control).is_err());
    }
}
