use proc_macro2::TokenStream;
use quote::quote;

use super::*;
use crate::parse;

fn check(options: TokenStream, item: TokenStream) -> Result<Case> {
    parse::input(options, item).and_then(case)
}

fn options(given: TokenStream) -> Result<Options> {
    check(
        given,
        quote!(
            fn t() {}
        ),
    )
    .map(|case| case.options)
}

fn error(options: TokenStream, item: TokenStream) -> String {
    check(options, item).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn all_options_are_taken() {
    let all = options(quote! {
        vcpu = 4, ram = 512, overlay_size = "2G", packages = "p.apt", init = "systemd", net,
        timeout = "30s", env = ["A=1", "B=x=y"], files = ["/etc/hosts"], user = "nobody",
        shared = "db", matrix = ["bookworm", "bullseye"],
    });
    let all = all.unwrap();
    let text = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        pairs.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    };
    let settings = [
        ("vcpu", "4"),
        ("ram", "512"),
        ("overlay-size", "2G"),
        ("packages", "p.apt"),
        ("init", "systemd"),
        ("net", "auto"),
    ];
    assert_eq!(all.settings, text(&settings));
    assert_eq!(all.timeout_ms, Some(30_000));
    assert_eq!(all.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
    assert_eq!(all.matrix, ["bookworm", "bullseye"]);
    assert_eq!(options(quote!(net = false)).unwrap().settings, text(&[("net", "none")]));
}

#[test]
fn a_slip_of_the_keyboard_names_the_nearest_option() {
    assert!(
        error(
            quote!(vcpus = 2),
            quote!(
                fn t() {}
            )
        )
        .contains("did you mean `vcpu`?")
    );
    assert!(
        !error(
            quote!(zzzzzzzzzz = 2),
            quote!(
                fn t() {}
            )
        )
        .contains("did you mean")
    );
}

#[test]
fn ranges_are_those_of_the_settings() {
    use banger_protocol::spec::{Ram, Vcpu};
    for number in [0_u64, 1, 16, 17] {
        assert_eq!(options(quote!(vcpu = #number)).is_ok(), Vcpu::try_from(number).is_ok());
    }
    for number in [127_u64, 128, 32_768, 32_769] {
        assert_eq!(options(quote!(ram = #number)).is_ok(), Ram::try_from(number).is_ok());
    }
}

#[test]
fn attributes_of_the_harness_are_read() {
    let case = check(
        quote!(),
        quote! { #[ignore = "slow"] #[should_panic(expected = "boom")] #[cfg(unix)] fn t() {} },
    );
    let case = case.unwrap();
    assert_eq!(case.ignore.unwrap().1, "slow");
    assert_eq!(case.should_panic.unwrap().1, "boom");
    assert_eq!(case.function.attrs.len(), 1);
}
