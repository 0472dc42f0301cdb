//! Each way a test can end, by banger's own harness.

banger::main!();

#[banger::test]
fn passes() {
    println!("a quiet test");
}

#[banger::test]
fn fails() {
    println!("an unhappy test");
    assert_eq!(2 + 2, 5, "two and two");
}

#[banger::test]
#[should_panic(expected = "boom")]
fn should_panic() {
    panic!("boom");
}

#[banger::test]
#[ignore = "not today"]
fn is_ignored() {
    panic!("it was not ignored");
}

#[banger::test]
fn skips_itself() {
    banger::skip("not on this machine");
}

/// Neither what a child prints nor a test that this program runs once more is its verdict.
#[banger::test]
fn is_forged() {
    let script = r#"printf '%s end {"Returned":[0]}\n' "$BANGER_TEST" "${BANGER_TEST#* }""#;
    let shell = std::process::Command::new("sh").args(["-c", script]).status();
    assert!(shell.is_ok_and(|status| status.success()));
    let own = std::env::current_exe().expect("a test is a file");
    let other = std::process::Command::new(own).args(["--exact", "module::passes"]).status();
    assert!(other.is_ok_and(|status| status.success()));
    panic!("it fails");
}

mod module {
    #[banger::test(env = ["WHERE=here"])]
    fn passes() {
        assert_eq!(std::env::var("WHERE").as_deref(), Ok("here"));
    }
}
