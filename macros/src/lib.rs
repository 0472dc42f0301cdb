//! The attribute of `banger-test`: parse, validate, generate. Use it as `#[banger::test]`.

use proc_macro::TokenStream;

mod codegen;
mod validate;

/// Marks a test that belongs in a VM.
///
/// Inside a guest of banger the test runs as `#[test]` does. Elsewhere it does nothing but say
/// why, since what it does to the machine is not wanted there. `#[ignore]` keeps its meaning.
///
/// Accepted form: `fn name() { … }`, or with a return type that `#[test]` accepts; neither `async`
/// nor generic nor with arguments.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    validate::case(options.into(), item.into())
        .map_or_else(syn::Error::into_compile_error, |case| codegen::test(&case))
        .into()
}
