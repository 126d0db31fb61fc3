//! The keys of a table: what is emitted for each field.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Fields, GenericArgument, Ident, Path, PathArguments, Result, Type};

use crate::options::{KeyOptions, doc};

/// The fields of a struct or of a variant.
pub struct Keys {
    fields: Vec<Field>,
}

/// One field.
pub struct Field {
    pub ident: Ident,
    name: String,
    doc: String,
    ty: Type,
    options: KeyOptions,
    presence: Presence,
}

/// How a missing key is treated.
enum Presence {
    /// A mistake. With a value the table is still read.
    Required(Option<TokenStream>),
    /// `None`; the value's own type.
    Optional(Box<Type>),
    Default(TokenStream),
}

impl Keys {
    /// `remote` is the type whose defaults `#[key(default)]` means.
    pub fn parse(fields: &Fields, remote: Option<&Path>) -> Result<Self> {
        let fields = fields.iter().map(|field| {
            let options = KeyOptions::parse(&field.attrs)?;
            let ident = field.ident.clone();
            let ident =
                ident.ok_or_else(|| syn::Error::new_spanned(field, "a key needs a name"))?;
            let plain = ident.to_string();
            let name = options.name.clone();
            let presence = match (&options.default, &options.stand_in, optional(&field.ty)) {
                (Some(Some(value)), ..) => Presence::Default(quote!(#value)),
                (Some(None), ..) => Presence::Default(match remote {
                    Some(remote) => quote!(<#remote as Default>::default().#ident),
                    None => quote!(Default::default()),
                }),
                (None, Some(Some(value)), _) => Presence::Required(Some(quote!(#value))),
                (None, Some(None), _) => Presence::Required(Some(quote!(Default::default()))),
                (None, None, Some(inner)) => Presence::Optional(Box::new(inner)),
                (None, None, None) => Presence::Required(None),
            };
            Ok(Field {
                name: name.unwrap_or_else(|| plain.trim_end_matches('_').to_owned()),
                doc: doc(&field.attrs),
                ty: field.ty.clone(),
                ident,
                options,
                presence,
            })
        });
        Ok(Self { fields: fields.collect::<Result<_>>()? })
    }

    /// All fields, skipped ones as well.
    pub fn all(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter()
    }

    /// The fields that are keys.
    fn keys(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| !field.options.skip)
    }

    /// The data of each key.
    pub fn consts(&self) -> Vec<TokenStream> {
        self.keys().map(Field::key_const).collect()
    }

    /// Statements that read each key into a variable of its name.
    pub fn reads(&self) -> Vec<TokenStream> {
        let read = |field: &Field| {
            let (ident, name, ty) = (&field.ident, &field.name, &field.ty);
            let element = field.element();
            if field.options.skip {
                return quote!(let #ident: #ty = Default::default(););
            }
            if field.options.flatten {
                return quote!(let #ident = <#ty as Group>::read_keys(table););
            }
            let read = quote!(<#element as Element>::read);
            match &field.presence {
                Presence::Optional(_) => quote!(let #ident = table.opt(#name, #read);),
                Presence::Default(value) => {
                    quote!(let #ident: #ty = table.opt(#name, #read).unwrap_or_else(|| #value);)
                }
                Presence::Required(Some(value)) => {
                    quote!(let #ident: #ty = table.req(#name, #read).unwrap_or_else(|| #value);)
                }
                Presence::Required(None) => quote!(let #ident = table.req(#name, #read);),
            }
        };
        self.all().map(read).collect()
    }

    /// `Some(value)`, or `None` where a required key could not be read.
    pub fn built(&self, value: &TokenStream) -> TokenStream {
        let needed = |field: &&Field| field.options.flatten || field.is_needed();
        let needed: Vec<&Ident> = self.keys().filter(needed).map(|field| &field.ident).collect();
        match &needed[..] {
            [] => quote!(Some(#value)),
            needed => quote! {
                match (#(#needed,)*) {
                    (#(Some(#needed),)*) => Some(#value),
                    _ => None,
                }
            },
        }
    }

    /// Patterns that name every field.
    pub fn patterns(&self) -> Vec<TokenStream> {
        let pattern = |field: &Field| {
            let ident = &field.ident;
            if field.options.skip { quote!(#ident: _) } else { quote!(#ident) }
        };
        self.all().map(pattern).collect()
    }

    /// Statements that check the bounds; `keys` is where the keys' data are.
    pub fn checks(&self, keys: &TokenStream) -> Vec<TokenStream> {
        let check = |(at, field): (usize, &Field)| {
            let (ident, name) = (&field.ident, &field.name);
            let element = field.element();
            if field.options.flatten {
                return quote!(#ident.check_keys(at););
            }
            let check = quote! {
                at.key(#name, |at| <#element as Element>::check(#ident, &#keys[#at].bounds, at))
            };
            match &field.presence {
                Presence::Optional(_) => quote!(if let Some(#ident) = #ident { #check }),
                _ => quote!(#check;),
            }
        };
        self.keys().enumerate().map(check).collect()
    }

    /// Statements that write each key's value into `out`.
    pub fn shown(&self) -> Vec<TokenStream> {
        let show = |field: &Field| {
            let (ident, name) = (&field.ident, &field.name);
            let element = field.element();
            if field.options.flatten {
                return quote!(out.all(#ident.show_keys()););
            }
            let show = quote!(out.add(#name, <#element as Element>::show(#ident)));
            match &field.presence {
                Presence::Optional(_) => quote!(if let Some(#ident) = #ident { #show }),
                _ => quote!(#show;),
            }
        };
        self.keys().map(show).collect()
    }

    /// `Default`, or `new` with the required keys.
    pub fn default(&self, own: &Ident) -> TokenStream {
        let idents: Vec<&Ident> = self.all().map(|field| &field.ident).collect();
        let required = |field: &&Field| matches!(field.presence, Presence::Required(_));
        let required: Vec<&Field> =
            self.keys().filter(|field| !field.options.flatten).filter(required).collect();
        let values = self.all().map(|field| {
            let ident = &field.ident;
            match &field.presence {
                _ if field.options.flatten || field.options.skip => quote!(Default::default()),
                Presence::Default(value) => quote!(#value),
                Presence::Optional(_) => quote!(None),
                Presence::Required(_) => quote!(#ident.into()),
            }
        });
        if required.is_empty() {
            return quote! {
                #[automatically_derived]
                impl Default for #own {
                    fn default() -> Self {
                        Self { #(#idents: #values),* }
                    }
                }
            };
        }
        let names = required.iter().map(|field| &field.ident);
        let types = required.iter().map(|field| &field.ty);
        quote! {
            #[automatically_derived]
            impl #own {
                /// The required keys, and defaults for the others.
                #[must_use]
                #[allow(dead_code, reason = "tables that are only read are not made in code")]
                pub fn new(#(#names: impl Into<#types>),*) -> Self {
                    Self { #(#idents: #values),* }
                }
            }
        }
    }

    /// Setters of the fields with `#[key(set)]`.
    pub fn setters(&self, own: &Ident) -> TokenStream {
        let setters: Vec<TokenStream> = (self.keys())
            .filter(|field| field.options.set)
            .map(|field| {
                let (ident, doc) = (&field.ident, &field.doc);
                let (ty, some) = match &field.presence {
                    Presence::Optional(inner) => (&**inner, true),
                    _ => (&field.ty, false),
                };
                let doc = format!("Sets `{}`. {doc}", field.name);
                // Literals of numbers have no type that converts into each of theirs.
                let (argument, value) = if is_number(ty) {
                    (quote!(#ty), quote!(#ident))
                } else {
                    (quote!(impl Into<#ty>), quote!(#ident.into()))
                };
                let value = if some { quote!(Some(#value)) } else { value };
                quote! {
                    #[doc = #doc]
                    #[must_use]
                    pub fn #ident(mut self, #ident: #argument) -> Self {
                        self.#ident = #value;
                        self
                    }
                }
            })
            .collect();
        if setters.is_empty() {
            return quote!();
        }
        quote! {
            #[automatically_derived]
            impl #own { #(#setters)* }
        }
    }
}

impl Field {
    fn is_needed(&self) -> bool {
        matches!(self.presence, Presence::Required(None)) && !self.options.skip
    }

    /// The type that reads the value.
    fn element(&self) -> TokenStream {
        match (&self.options.as_, &self.presence) {
            (Some(element), _) => quote!(#element),
            (None, Presence::Optional(inner)) => quote!(#inner),
            (None, _) => {
                let ty = &self.ty;
                quote!(#ty)
            }
        }
    }

    fn key_const(&self) -> TokenStream {
        let element = self.element();
        let (name, ty) = (&self.name, &self.ty);
        if self.options.flatten {
            return quote!(Key { ty: Type::Table(<#ty as Group>::TABLE), flat: true, ..Key::NONE });
        }
        let key = key_const(name, &self.doc, &self.options, &element);
        match &self.presence {
            Presence::Required(_) => quote!(Key { required: true, ..#key }),
            Presence::Default(value) if !self.options.varies => {
                let default = quote! {
                    Some(|| {
                        let value: #ty = #value;
                        <#element as Element>::show(&value)
                    })
                };
                // The keys of a table show its own defaults.
                let default = match &self.options.default {
                    Some(Some(_)) => default,
                    _ => quote! {
                        match <#element as Element>::TYPE { Type::Table(_) => None, _ => #default }
                    },
                };
                quote!(Key { default: #default, ..#key })
            }
            _ => key,
        }
    }
}

/// The data of a key that may be missing.
pub fn key_const(
    name: &str,
    doc: &str,
    options: &KeyOptions,
    element: &TokenStream,
) -> TokenStream {
    let bounds = options.bounds.iter().map(|(bound, value)| {
        quote!(#bound: Some(Number { whole: (#value) as u64, real: (#value) as f64 }))
    });
    let because = match &options.because {
        Some(because) => quote!(#because),
        None => quote!(""),
    };
    let by_plan = options.by_plan;
    let bounds =
        quote!(Bounds { #(#bounds,)* because: #because, by_plan: #by_plan, ..Bounds::NONE });
    quote! {
        Key {
            name: #name, doc: #doc, ty: <#element as Element>::TYPE, bounds: #bounds,
            ..Key::NONE
        }
    }
}

/// `T` of `Option<T>`.
fn optional(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner.clone()),
        _ => None,
    }
}

fn is_number(ty: &Type) -> bool {
    let numbers = ["bool", "u16", "u32", "u64", "f64"];
    matches!(ty, Type::Path(path) if numbers.iter().any(|name| path.path.is_ident(*name)))
}
