//! Reads the attribute's options and the function under it. Knows syntax only: which options there
//! are and what they may be is not its business.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, ItemFn, Lit, Result, Token, bracketed};

/// What an item has to look like.
pub(crate) const FUNCTION: &str = "expected `fn name() { … }` or `async fn name() { … }`, with a return type that `#[test]` accepts";

/// The attribute as it stands in the source.
pub(crate) struct Input {
    pub(crate) options: Vec<Given>,
    pub(crate) function: ItemFn,
}

/// One option as given.
pub(crate) struct Given {
    pub(crate) name: Ident,
    pub(crate) value: Value,
    /// The whole of it.
    pub(crate) span: Span,
}

/// What stands behind an option's `=`.
pub(crate) enum Value {
    /// Nothing: the name alone.
    Absent,
    One(Lit),
    Many(Vec<Lit>),
}

/// Reads both.
pub(crate) fn input(options: TokenStream, item: TokenStream) -> Result<Input> {
    let parser = Punctuated::<Given, Token![,]>::parse_terminated;
    let options = parser.parse2(options)?.into_iter().collect();
    let function = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("not a function: {FUNCTION}")))?;
    Ok(Input { options, function })
}

impl Parse for Given {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // Keywords too, which are options as little as other words.
        let name = Ident::parse_any(input).map_err(|error| {
            Error::new(error.span(), "expected an option, such as `ram = 2048`")
        })?;
        let span = name.span();
        if !input.peek(Token![=]) {
            return Ok(Self { name, value: Value::Absent, span });
        }
        input.parse::<Token![=]>()?;
        let value = value(input, &name)?;
        Ok(Self { name, value, span })
    }
}

fn value(input: ParseStream<'_>, name: &Ident) -> Result<Value> {
    let literal = |input: ParseStream<'_>| {
        input.parse::<Lit>().map_err(|error| {
            let message = format!("`{name}` takes a literal, or a list of them in brackets");
            Error::new(error.span(), message)
        })
    };
    if !input.peek(syn::token::Bracket) {
        return literal(input).map(Value::One);
    }
    let list;
    bracketed!(list in input);
    let mut values = Vec::new();
    while !list.is_empty() {
        values.push(literal(&list)?);
        if !list.is_empty() {
            list.parse::<Token![,]>()?;
        }
    }
    Ok(Value::Many(values))
}
