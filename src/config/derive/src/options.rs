//! Parses the attributes.

use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, LitStr, Path, Result, Token, Type};

/// `#[element(...)]` of a type, or of a variant of an enum by kind.
#[derive(Default)]
pub struct Container {
    pub short: Option<String>,
    pub resets: Vec<String>,
    pub remote: Option<Path>,
    pub words: bool,
    pub kebab: bool,
    pub by_kind: Option<String>,
    pub def: Option<String>,
    pub exactly_one: Vec<String>,
    pub at_most_one: Vec<String>,
    pub extra: Option<Path>,
    pub unless: Option<String>,
    pub complete: Option<Path>,
    pub hint: Option<LitStr>,
}

impl Container {
    pub fn parse(attrs: &[Attribute]) -> Result<Self> {
        let mut out = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("element")) {
            attr.parse_nested_meta(|meta| {
                let word = meta.path.require_ident()?.to_string();
                let ident = || Ok::<_, syn::Error>(meta.value()?.parse::<Ident>()?.to_string());
                match word.as_str() {
                    "short" => out.short = Some(ident()?),
                    "resets" => out.resets = names(&meta)?,
                    "remote" => out.remote = Some(meta.value()?.parse()?),
                    "words" => out.words = true,
                    "kebab" => out.kebab = true,
                    "by_kind" => out.by_kind = Some(ident()?),
                    "by_key" => {}
                    "def" => out.def = Some(ident()?),
                    "exactly_one" => out.exactly_one = names(&meta)?,
                    "at_most_one" => out.at_most_one = names(&meta)?,
                    "extra" => out.extra = Some(meta.value()?.parse()?),
                    "unless" => out.unless = Some(ident()?),
                    "hint" => out.hint = Some(meta.value()?.parse()?),
                    "complete" => out.complete = Some(meta.value()?.parse()?),
                    _ => return Err(meta.error("unknown option of `element`")),
                }
                Ok(())
            })?;
        }
        Ok(out)
    }

    /// The name of a variant in config files.
    pub fn case(&self, ident: &Ident) -> String {
        let dash = if self.kebab { '-' } else { '_' };
        let mut out = String::new();
        for (at, c) in ident.to_string().char_indices() {
            if c.is_uppercase() && at > 0 {
                out.push(dash);
            }
            out.extend(c.to_lowercase());
        }
        out
    }
}

/// `(a, b)` after an option.
fn names(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<Vec<String>> {
    let content;
    syn::parenthesized!(content in meta.input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
    Ok(names.iter().map(Ident::to_string).collect())
}

/// `#[key(...)]` of a field, or of a variant.
#[derive(Default)]
pub struct KeyOptions {
    pub name: Option<String>,
    /// `Some(None)` is the default of the type.
    pub default: Option<Option<Expr>>,
    pub stand_in: Option<Option<Expr>>,
    pub as_: Option<Type>,
    /// Names of the bounds, with their expressions.
    pub bounds: Vec<(Ident, Expr)>,
    pub because: Option<Expr>,
    pub by_plan: bool,
    pub flatten: bool,
    pub skip: bool,
    pub set: bool,
    pub bare: bool,
    pub varies: bool,
}

impl KeyOptions {
    pub fn parse(attrs: &[Attribute]) -> Result<Self> {
        let mut out = Self::default();
        for attr in attrs.iter().filter(|attr| attr.path().is_ident("key")) {
            attr.parse_args_with(|input: ParseStream<'_>| out.options(input))?;
        }
        Ok(out)
    }

    fn options(&mut self, input: ParseStream<'_>) -> Result<()> {
        while !input.is_empty() {
            // `as` is a keyword.
            if input.parse::<Option<Token![as]>>()?.is_some() {
                input.parse::<Token![=]>()?;
                self.as_ = Some(input.parse()?);
            } else {
                let word: Ident = input.parse()?;
                self.option(word, input)?;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    fn option(&mut self, word: Ident, input: ParseStream<'_>) -> Result<()> {
        let value = if input.parse::<Option<Token![=]>>()?.is_some() {
            Some(input.parse::<Expr>()?)
        } else {
            None
        };
        match (word.to_string().as_str(), value) {
            ("name", Some(name)) => {
                self.name = Some(syn::parse2::<LitStr>(quote::quote!(#name))?.value());
            }
            ("default", value) => self.default = Some(value),
            ("stand_in", value) => self.stand_in = Some(value),
            ("min" | "max" | "above" | "below" | "most", Some(value)) => {
                self.bounds.push((word, value));
            }
            ("because", value) => self.because = value,
            ("by_plan", None) => self.by_plan = true,
            ("flatten", None) => self.flatten = true,
            ("skip", None) => self.skip = true,
            ("set", None) => self.set = true,
            ("bare", None) => self.bare = true,
            ("varies", None) => self.varies = true,
            _ => return Err(syn::Error::new_spanned(word, "unknown option of `key`")),
        }
        Ok(())
    }
}

/// The first paragraph of the doc comment, in one line.
pub fn doc(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        syn::Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) => Some(line.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> =
        (lines.map(|line| line.trim().to_owned())).take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}
