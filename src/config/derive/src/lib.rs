//! `#[derive(Element)]`: one declaration of a table of the config language.
//!
//! The derive emits plain data (`TYPE`) from which schema, reference page and short forms follow,
//! `read` from the spanned tree, `check` of the bounds, `Default` or `new`, and setters. It is for
//! the crate `gopherworks` only: generated code names `crate::config::element`.
//!
//! On a type, `#[element(...)]`:
//! - nothing: a struct, which is a table of keys.
//! - `short = key`: a value that is not a table stands for `{ key = value }`; with `resets(other)`
//!   it also sets the durations `other` to zero.
//! - `words`, an enum without fields: a word in snake case, or with `kebab` in kebab case.
//! - `by_kind = role`, an enum: the key `kind` names the variant, whose fields are the other keys.
//! - `by_key`, an enum: a table with exactly one key, the variant's; a variant with
//!   `#[key(bare)]` is what a value that is not a table is read as.
//! - `remote = Type`: describes a type of another crate with the same fields. A field that one of
//!   them lacks does not compile.
//! - `def = name`: the table's name among the definitions of the JSON Schema.
//! - `exactly_one(a, b)` and `at_most_one(a, b)`: keys that exclude each other.
//! - `extra = CONST`: keys that are known but not read; `unless = key`: no key is required
//!   where this one stands; `complete = function`: more of the schema of complete files;
//!   `hint = "..."`: help for a value that is not a table.
//!
//! On a field or variant, `#[key(...)]`:
//! - `default` or `default = value`. A field with neither this nor the type `Option` is required.
//! - `stand_in` or `stand_in = value`: what a missing required key is read as, so that other
//!   mistakes are still found.
//! - `as = Element`: how the value is read, if not as the field's type says.
//! - `min`, `max`, `above`, `below`, each a number (of seconds for durations), with `because`, the
//!   message if one is violated; without it the plan checks them. `most` is a maximum with a
//!   message of its own, which with `by_plan` is the plan's.
//! - `name = "key"`, `flatten`, `skip`; `varies`: the default is not shown; `set`: emits a setter.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Fields, Ident, Result};

mod fields;
mod options;

use fields::{Keys, key_const};
use options::{Container, KeyOptions, doc};

/// Derives the config element; see the crate's documentation.
#[proc_macro_derive(Element, attributes(element, key))]
pub fn element(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let container = Container::parse(&input.attrs)?;
    match &input.data {
        Data::Struct(data) => structure(input, &container, &data.fields),
        Data::Enum(data) if container.words => words(input, &container, data),
        Data::Enum(data) if container.by_kind.is_some() => by_kind(input, &container, data),
        Data::Enum(data) => by_key(input, &container, data),
        Data::Union(_) => Err(syn::Error::new_spanned(&input.ident, "a union is no table")),
    }
}

/// The type that is described: the one with the attribute, or the remote one.
fn target(input: &DeriveInput, container: &Container) -> TokenStream {
    let own = &input.ident;
    match &container.remote {
        Some(remote) => quote!(#remote),
        None => quote!(#own),
    }
}

/// The data of a table, its keys given.
fn table(
    container: &Container,
    doc: &str,
    keys: &[TokenStream],
    bare: &TokenStream,
) -> TokenStream {
    let name = container.def.clone().unwrap_or_default();
    let text = |text: &Option<String>| match text {
        Some(text) => quote!(Some(#text)),
        None => quote!(None),
    };
    let (short, unless) = (text(&container.short), text(&container.unless));
    let resets = &container.resets;
    let rule = match (&container.exactly_one[..], &container.at_most_one[..]) {
        ([], []) => quote!(None),
        ([], keys) => quote!(Some(Rule::AtMostOne(&[#(#keys),*]))),
        (keys, _) => quote!(Some(Rule::ExactlyOne(&[#(#keys),*]))),
    };
    let extra = container.extra.as_ref().map_or(quote!(&[]), |extra| quote!(&#extra));
    let complete =
        (container.complete.as_ref()).map_or(quote!(None), |complete| quote!(Some(#complete)));
    let hint = container.hint.as_ref().map_or(quote!(""), |hint| quote!(#hint));
    quote! {
        TableSpec {
            name: #name, hint: #hint, doc: #doc, keys: &[#(#keys),*], short: #short,
            resets: &[#(#resets),*], rule: #rule, extra: #extra, unless: #unless,
            complete: #complete, bare: #bare,
        }
    }
}

/// Implements `Element` for `own` in a scope of its own.
fn element_impl(
    own: &TokenStream,
    ty: &TokenStream,
    [read, check, show]: [TokenStream; 3],
    more: &TokenStream,
) -> TokenStream {
    quote! {
        const _: () = {
            use crate::config::element::*;

            #[automatically_derived]
            impl Element for #own {
                type Value = Self;
                const TYPE: Type = #ty;

                fn read(reading: &Reading<'_>, item: Item<'_>) -> Option<Self> {
                    #read
                }

                fn check<'c>(value: &'c Self, _: &Bounds, at: &mut Checks<'c, '_>) {
                    let _ = &at;
                    #check
                }

                fn show(value: &Self) -> Json {
                    #show
                }
            }

            #more
        };
    }
}

/// Implements `Group`, and `Element` by it, for `own`.
fn group_impl(
    own: &TokenStream,
    table: &TokenStream,
    [read, read_keys, check_keys, show_keys]: [TokenStream; 4],
    more: &TokenStream,
) -> TokenStream {
    let group = quote! {
        #[automatically_derived]
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "bounds of any number")]
        impl Group for #own {
            const TABLE: &'static TableSpec = &#table;

            fn read_keys(table: &mut TableReader<'_>) -> Option<Self> {
                #read_keys
            }

            fn check_keys<'c>(&'c self, at: &mut Checks<'c, '_>) {
                #check_keys
            }

            fn show_keys(&self) -> Json {
                #show_keys
            }
        }

        #more
    };
    let element = [read, quote!(value.check_keys(at)), quote!(value.show_keys())];
    element_impl(own, &quote!(Type::Table(<Self as Group>::TABLE)), element, &group)
}

fn structure(input: &DeriveInput, container: &Container, fields: &Fields) -> Result<TokenStream> {
    let own = &input.ident;
    let target = target(input, container);
    let keys = Keys::parse(fields, container.remote.as_ref())?;
    let names: Vec<&Ident> = keys.all().map(|field| &field.ident).collect();
    let (reads, patterns, shown) = (keys.reads(), keys.patterns(), keys.shown());
    let built = keys.built(&quote!(#own { #(#names),* }));
    let built = match &container.remote {
        // Both directions, so that a field that one of the two lacks does not compile.
        Some(remote) => quote! { #built.map(|#own { #(#names),* }| #remote { #(#names),* }) },
        None => built,
    };
    let table = table(container, &doc(&input.attrs), &keys.consts(), &quote!(None));
    let checks = keys.checks(&quote!(<Self as Group>::TABLE.keys));
    let default = if container.remote.is_none() { keys.default(own) } else { quote!() };
    let setters = keys.setters(own);
    let functions = [
        quote!(read_group(reading, item)),
        quote!(#(#reads)* #built),
        quote!(let Self { #(#patterns),* } = self; #(#checks)* let _ = at;),
        quote! {
            let Self { #(#patterns),* } = self;
            let mut out = Shown::default();
            #(#shown)*
            out.json()
        },
    ];
    Ok(group_impl(&target, &table, functions, &quote!(#default #setters)))
}

fn words(input: &DeriveInput, container: &Container, data: &syn::DataEnum) -> Result<TokenStream> {
    let own = target(input, container);
    let (mut idents, mut names, mut docs) = (Vec::new(), Vec::new(), Vec::new());
    for variant in &data.variants {
        let options = KeyOptions::parse(&variant.attrs)?;
        names.push(options.name.unwrap_or_else(|| container.case(&variant.ident)));
        docs.push(doc(&variant.attrs));
        idents.push(&variant.ident);
    }
    let ty = quote!(Type::Words(&[#(Word { name: #names, doc: #docs }),*]));
    let functions = [
        quote!(word(reading, item, &[#((#names, Self::#idents)),*])),
        quote!(let _ = value;),
        quote!(Json::from(match value { #(Self::#idents => #names),* })),
    ];
    Ok(element_impl(&own, &ty, functions, &quote!()))
}

fn by_kind(
    input: &DeriveInput,
    container: &Container,
    data: &syn::DataEnum,
) -> Result<TokenStream> {
    let own = target(input, container);
    let role = container.by_kind.clone().unwrap_or_default();
    let (mut variants, mut words) = (Vec::new(), Vec::new());
    let (mut reads, mut checks) = (Vec::new(), Vec::new());
    for (at, variant) in data.variants.iter().enumerate() {
        let ident = &variant.ident;
        let options = KeyOptions::parse(&variant.attrs)?;
        let name = options.name.clone().unwrap_or_else(|| container.case(ident));
        let doc = doc(&variant.attrs);
        if let Fields::Unnamed(fields) = &variant.fields {
            let inner = &fields.unnamed[0].ty;
            variants.push(quote! {
                Variant { name: #name, doc: #doc, table: <#inner as Group>::TABLE }
            });
            reads.push(quote!(#at => <#inner as Group>::read_keys(&mut table).map(Self::#ident)));
            checks.push(quote!(Self::#ident(inner) => inner.check_keys(at)));
        } else {
            let keys = Keys::parse(&variant.fields, None)?;
            let rules = Container::parse(&variant.attrs)?;
            let table = table(&rules, &doc, &keys.consts(), &quote!(None));
            variants.push(quote!(Variant { name: #name, doc: #doc, table: &#table }));
            let names: Vec<&Ident> = keys.all().map(|field| &field.ident).collect();
            let (lets, patterns) = (keys.reads(), keys.patterns());
            let built = keys.built(&quote!(Self::#ident { #(#names),* }));
            reads.push(
                quote! { #at => { let table = &mut table; #(#lets)* let _ = table; #built } },
            );
            let own_checks = keys.checks(&quote!(<Self as Tagged>::VARIANTS[#at].table.keys));
            checks.push(quote!(Self::#ident { #(#patterns),* } => { #(#own_checks)* }));
        }
        words.push((name, ident));
    }
    let numbers = 0..words.len();
    let names = words.iter().map(|(name, _)| name);
    let shows = words.iter().map(|(name, ident)| quote!(Self::#ident { .. } => #name));
    let functions = [
        quote! {
            let mut table = TableReader::open(reading, item)?;
            let kind = |reading: &Reading<'_>, item: Item<'_>| {
                word(reading, item, &[#((#names, #numbers)),*])
            };
            let value = match table.req("kind", kind)? {
                #(#reads,)*
                _ => None,
            };
            table.finish();
            value
        },
        quote!(match value { #(#checks),* }),
        // The kind alone: defaults have no options that differ.
        quote!(Json::from(match value { #(#shows),* })),
    ];
    let tagged = quote! {
        #[automatically_derived]
        #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "bounds of any number")]
        impl Tagged for #own {
            const VARIANTS: &'static [Variant] = &[#(#variants),*];
        }
    };
    let ty = quote!(Type::Tagged(#role, <Self as Tagged>::VARIANTS));
    Ok(element_impl(&own, &ty, functions, &tagged))
}

fn by_key(input: &DeriveInput, container: &Container, data: &syn::DataEnum) -> Result<TokenStream> {
    let own = target(input, container);
    let (mut bare, mut bare_read) = (quote!(None), quote!());
    let (mut consts, mut names) = (Vec::new(), Vec::new());
    let (mut reads, mut checks, mut shows) = (Vec::new(), Vec::new(), Vec::new());
    for variant in &data.variants {
        let ident = &variant.ident;
        let options = KeyOptions::parse(&variant.attrs)?;
        let name = options.name.clone().unwrap_or_else(|| container.case(ident));
        if options.skip {
            checks.push(quote!(Self::#ident => {}));
            continue;
        }
        let variable = format_ident!("{name}");
        let doc = doc(&variant.attrs);
        let own_key = consts.len();
        let own_key = quote!(<Self as Group>::TABLE.keys[#own_key]);
        if let Fields::Unnamed(fields) = &variant.fields {
            let first = &fields.unnamed[0].ty;
            let element = options.as_.as_ref().map_or(quote!(#first), |element| quote!(#element));
            if options.bare {
                bare = quote!(Some(<#element as Element>::TYPE));
                bare_read = quote! {
                    if !item.is_table() {
                        return <#element as Element>::read(reading, item).map(Self::#ident);
                    }
                };
                checks.push(quote! {
                    Self::#ident(a) => <#element as Element>::check(a, &Bounds::NONE, at)
                });
                shows.push(quote!(Self::#ident(a) => <#element as Element>::show(a),));
                continue;
            }
            let check = |value| quote!(<#element as Element>::check(#value, bounds, at););
            let (read, make, values, check) = if fields.unnamed.len() == 2 {
                let check = [quote!(a), quote!(b)].map(check);
                let make = quote!(|(a, b)| Self::#ident(a, b));
                (quote!(Pair<#element>), make, quote!(a, b), quote!(#(#check)*))
            } else {
                (quote!(#element), quote!(Self::#ident), quote!(a), check(quote!(a)))
            };
            consts.push(key_const(&name, &doc, &options, &read));
            reads.push(quote! {
                let #variable = table.opt(#name, <#read as Element>::read).map(#make);
            });
            checks.push(quote! {
                Self::#ident(#values) => at.key(#name, |at| {
                    let bounds = &#own_key.bounds;
                    #check
                })
            });
        } else {
            let keys = Keys::parse(&variant.fields, None)?;
            let table = table(&Container::default(), &doc, &keys.consts(), &quote!(None));
            let fields: Vec<&Ident> = keys.all().map(|field| &field.ident).collect();
            let (lets, patterns) = (keys.reads(), keys.patterns());
            let built = keys.built(&quote!(Self::#ident { #(#fields),* }));
            let own_checks = keys.checks(&quote!(#own_key.ty.keys()));
            consts.push(quote! {
                Key { name: #name, doc: #doc, ty: Type::Table(&#table), ..Key::NONE }
            });
            reads.push(quote! {
                let #variable = table.opt(#name, |reading, item| {
                    let mut table = TableReader::open(reading, item)?;
                    let value = { let table = &mut table; #(#lets)* #built };
                    table.finish();
                    value
                });
            });
            checks.push(quote! {
                Self::#ident { #(#patterns),* } => at.key(#name, |at| { #(#own_checks)* })
            });
        }
        names.push((name, variable));
    }
    let rules = Container {
        exactly_one: names.iter().map(|(name, _)| name.clone()).collect(),
        hint: container.hint.clone(),
        ..Container::default()
    };
    let variables = names.iter().map(|(_, variable)| variable);
    let table = table(&rules, &doc(&input.attrs), &consts, &bare);
    let functions = [
        quote! {
            #bare_read
            one_key(reading, item, <Self as Group>::TABLE, Self::read_keys)
        },
        quote!(#(#reads)* None #(.or(#variables))*),
        quote!(match self { #(#checks),* }),
        // Only values that are not tables are shown.
        quote! {
            match self {
                #(#shows)*
                _ => Json::Null,
            }
        },
    ];
    Ok(group_impl(&own, &table, functions, &quote!()))
}
