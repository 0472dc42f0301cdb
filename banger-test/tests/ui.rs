//! What the attribute refuses, and how it says so. A case's folder is named after the module of
//! `banger-macros` that raises it.

#[test]
fn wrong_forms_are_errors_at_their_place() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/parse/*.rs");
    cases.compile_fail("tests/ui/validate/*.rs");
}
