//! Refuses what cannot be a test, at the place where it is wrong and with the accepted form.

use proc_macro2::TokenStream;
use syn::spanned::Spanned as _;
use syn::{Error, ItemFn, Result};

const ACCEPTED: &str = "expected `#[banger::test] fn name() { … }`";

/// A function that can be a test.
pub(crate) struct Case(pub(crate) ItemFn);

/// Checks the attribute's options and the function under it.
pub(crate) fn case(options: TokenStream, item: TokenStream) -> Result<Case> {
    if !options.is_empty() {
        return Err(Error::new(options.span(), format!("no options are known yet: {ACCEPTED}")));
    }
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("not a function: {ACCEPTED}")))?;
    let signature = &function.sig;
    if let Some(asyncness) = signature.asyncness {
        return Err(Error::new(asyncness.span(), format!("an async test: {ACCEPTED}")));
    }
    if !signature.inputs.is_empty() {
        return Err(Error::new(signature.inputs.span(), format!("a test's arguments: {ACCEPTED}")));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), format!("a generic test: {ACCEPTED}")));
    }
    let should_panic = |attribute: &&syn::Attribute| attribute.path().is_ident("should_panic");
    if let Some(attribute) = function.attrs.iter().find(should_panic) {
        return Err(Error::new(
            attribute.span(),
            format!("`should_panic` is not known yet: {ACCEPTED}"),
        ));
    }
    Ok(Case(function))
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn error(options: TokenStream, item: TokenStream) -> String {
        case(options, item).err().unwrap().to_string()
    }

    #[test]
    fn wrong_forms_are_refused_with_the_accepted_one() {
        for (item, word) in [
            (
                quote!(
                    async fn t() {}
                ),
                "async",
            ),
            (
                quote!(
                    fn t(x: u8) {}
                ),
                "arguments",
            ),
            (
                quote!(
                    fn t<T>() {}
                ),
                "generic",
            ),
            (
                quote!(
                    struct T;
                ),
                "not a function",
            ),
        ] {
            let error = error(quote!(), item);
            assert!(error.contains(word) && error.contains(ACCEPTED), "{error}");
        }
        assert!(
            error(
                quote!(vcpu = 2),
                quote!(
                    fn t() {}
                )
            )
            .contains("no options")
        );
    }

    #[test]
    fn a_plain_function_is_a_test() {
        assert!(
            case(
                quote!(),
                quote!(
                    #[ignore]
                    fn t() -> Result<(), String> {
                        Ok(())
                    }
                )
            )
            .is_ok()
        );
    }
}
