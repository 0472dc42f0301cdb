//! The attribute of `banger-test`: parse, validate, generate. Use it as `#[banger::test]`.
//!
//! ```text
//! tokens ─ parse ─► Input: a function, options by name ─ validate ─► Case ─ codegen ─► tokens
//! ```

use proc_macro::TokenStream;

mod codegen;
mod parse;
mod validate;
mod values;

/// A test that runs in a throwaway VM; see the crate's documentation.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    parse::input(options.into(), item.into())
        .and_then(validate::case)
        .map_or_else(syn::Error::into_compile_error, |case| codegen::test(&case))
        .into()
}
