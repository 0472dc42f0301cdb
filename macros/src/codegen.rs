//! Writes the test that the compiler sees. Only absolute paths into `core` and `banger` appear in
//! it, and it only quotes: everything was decided before.
//!
//! ```text
//! #[test] fn name() { fn name() { … } run(&Case { … }) }           as a rule
//! fn name() { … }  mod name { #[test] fn suite() { … } … }         with a matrix
//! const _ = { fn name() { … } submit!(Case { … }) }                with the feature `harness`,
//! #[test] fn name() { run(Case::find("name")) }                    where `#[test]` may be left out
//! ```
//!
//! Only who runs tests by `banger::main!` has cases registered, which takes a dependency more.
//!
//! Attributes about lints and documentation go to what the compiler sees first, and so hold for all
//! that is in it; others stay on the user's function.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Ident, ItemFn, ReturnType, Type};

use crate::validate::{Case, Options};

/// Whether cases are registered, for a harness other than the default one.
const REGISTERED: bool = cfg!(feature = "harness");

/// The whole of it.
pub(crate) fn test(case: &Case) -> TokenStream {
    let name = &case.function.sig.ident;
    if case.options.matrix.is_empty() {
        let one = Test { case, own: name, path: path(&[&name.to_string()]), suite: None };
        return one.alone();
    }
    let cfgs = attributes(case, &["cfg"]);
    let lints = attributes(case, &["allow", "warn", "deny", "forbid"]);
    let function = ItemFn { vis: syn::Visibility::Inherited, ..case.function.clone() };
    let tests = case.options.matrix.iter().map(|suite| {
        let own = Ident::new(&identifier(suite), name.span());
        let path = path(&[&own.to_string()]);
        Test { case, own: &own, path, suite: Some(suite) }.of_matrix()
    });
    quote! {
        #[cfg(test)]
        #function
        #[cfg(test)]
        #(#cfgs)*
        #(#lints)*
        mod #name { #(#tests)* }
    }
}

/// One test as the harness has it.
struct Test<'a> {
    case: &'a Case,
    /// Its function's name.
    own: &'a Ident,
    path: TokenStream,
    suite: Option<&'a String>,
}

impl Test<'_> {
    /// With the function within it, or beside it where cases are registered.
    fn alone(&self) -> TokenStream {
        let name = &self.case.function.sig.ident;
        let entry = self.entry(&quote! { #name() });
        let outer = attributes(self.case, OUTER);
        if !REGISTERED {
            let function = inner(&self.case.function, OUTER);
            let test = self.harness(&quote! { #function }, &quote! { &#entry });
            return quote! { #(#outer)* #test };
        }
        let function = inner(&self.case.function, &["cfg", "doc"]);
        let outer = outer.into_iter().map(expected_elsewhere);
        let cfgs = attributes(self.case, &["cfg"]);
        let test = self.harness(&quote! {}, &self.found());
        quote! {
            #[cfg(test)]
            #(#cfgs)*
            const _: () = {
                #function
                ::banger::__private::submit! { #entry }
            };
            #(#outer)*
            #test
        }
    }

    /// In a module of the function's name, above which the function is.
    fn of_matrix(&self) -> TokenStream {
        let name = &self.case.function.sig.ident;
        let entry = self.entry(&quote! { super::#name() });
        if !REGISTERED {
            return self.harness(&quote! {}, &quote! { &#entry });
        }
        let test = self.harness(&quote! {}, &self.found());
        quote! {
            ::banger::__private::submit! { #entry }
            #test
        }
    }

    /// What the default harness finds, under the user's own name.
    fn harness(&self, items: &TokenStream, case: &TokenStream) -> TokenStream {
        let own = self.own;
        let ignore = self.case.ignore.as_ref().map(|(attribute, _)| attribute);
        let should_panic = self.case.should_panic.as_ref().map(|(attribute, _)| attribute);
        let visibility = self.suite.is_none().then_some(&self.case.function.vis);
        let (output, run) = match should_panic {
            Some(_) => (quote! {}, quote! { run_to_panic }),
            None => (quote! { -> ::banger::__private::Outcome }, quote! { run }),
        };
        quote! {
            #[::core::prelude::v1::test]
            #ignore
            #should_panic
            #visibility fn #own() #output {
                #items
                ::banger::__private::#run(#case)
            }
        }
    }

    /// The case by its name in the registry.
    fn found(&self) -> TokenStream {
        let path = &self.path;
        quote! { ::banger::__private::Case::find(#path) }
    }

    /// How to run it.
    fn entry(&self, call: &TokenStream) -> TokenStream {
        let call = match self.case.function.sig.asyncness {
            Some(_) => quote! { ::banger::__private::block_on(#call) },
            None => call.clone(),
        };
        // Named, so that a type that no test can return is an error at its place.
        let returned = match &self.case.function.sig.output {
            ReturnType::Type(_, output)
                if !matches!(**output, Type::ImplTrait(_) | Type::Never(_)) =>
            {
                quote! { ::<#output> }
            }
            _ => quote! {},
        };
        let path = &self.path;
        let ignore = optional(self.case.ignore.as_ref().map(|(_, reason)| reason));
        let should_panic = optional(self.case.should_panic.as_ref().map(|(_, expected)| expected));
        let Options { timeout_ms, env, files, user, shared, .. } = &self.case.options;
        let settings = self.settings();
        let env = env.iter().map(|(name, value)| quote! { (#name, #value) });
        let timeout_ms = optional(timeout_ms.as_ref());
        let (user, shared) = (optional(user.as_ref()), optional(shared.as_ref()));
        quote! {
            ::banger::__private::Case {
                path: #path,
                manifest_dir: ::core::env!("CARGO_MANIFEST_DIR"),
                ignore: #ignore,
                should_panic: #should_panic,
                settings: &[#(#settings),*],
                timeout_ms: #timeout_ms,
                env: &[#(#env),*],
                files: &[#(#files),*],
                user: #user,
                shared: #shared,
                body: || ::banger::__private::report #returned (#call),
            }
        }
    }

    fn settings(&self) -> impl Iterator<Item = TokenStream> {
        let own = self.case.options.settings.iter().map(|(key, value)| (*key, value));
        let all = own.chain(self.suite.map(|suite| ("suite", suite)));
        all.map(|(key, value)| quote! { (#key, #value) })
    }
}

/// What holds for the test as the compiler sees it.
const OUTER: &[&str] = &["cfg", "doc", "allow", "warn", "deny", "forbid", "expect"];

/// The function's attributes of these names.
fn attributes<'a>(case: &'a Case, names: &[&str]) -> Vec<&'a Attribute> {
    let named = |attribute: &&Attribute| names.iter().any(|name| attribute.path().is_ident(name));
    case.function.attrs.iter().filter(named).collect()
}

/// What the function itself expects is only allowed around it.
fn expected_elsewhere(attribute: &Attribute) -> TokenStream {
    match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("expect") => {
            let lints = &list.tokens;
            quote! { #[allow(#lints)] }
        }
        _ => quote! { #attribute },
    }
}

/// The function without those, for what is around it only.
fn inner(function: &ItemFn, without: &[&str]) -> ItemFn {
    let mut function = ItemFn { vis: syn::Visibility::Inherited, ..function.clone() };
    let named = |attribute: &Attribute| without.iter().any(|name| attribute.path().is_ident(name));
    function.attrs.retain(|attribute| !named(attribute));
    function
}

fn path(names: &[&str]) -> TokenStream {
    quote! { ::core::concat!(::core::module_path!() #(, "::", #names)*) }
}

fn optional(value: Option<&impl quote::ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote! { ::core::option::Option::Some(#value) },
        None => quote! { ::core::option::Option::None },
    }
}

/// A suite's name as that of a function.
fn identifier(suite: &str) -> String {
    let name = suite.replace('-', "_");
    // A suite can be called as a keyword is.
    if syn::parse_str::<Ident>(&name).is_ok() { name } else { format!("{name}_") }
}
