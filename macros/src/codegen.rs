//! Writes the test that the compiler sees. Only absolute paths into `banger` appear in it.

use proc_macro2::TokenStream;
use quote::quote;

use crate::validate::Case;

/// The test itself, run where it belongs and left out with a reason elsewhere.
pub(crate) fn test(Case(function): &Case) -> TokenStream {
    let (attributes, visibility) = (&function.attrs, &function.vis);
    let (name, block, output) = (&function.sig.ident, &function.block, &function.sig.output);
    quote! {
        #[::core::prelude::v1::test]
        #(#attributes)*
        #visibility fn #name() -> ::banger::__private::Outcome {
            fn body() #output #block
            ::banger::__private::run(::core::stringify!(#name), body)
        }
    }
}
