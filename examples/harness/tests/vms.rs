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

mod module {
    #[banger::test(env = ["WHERE=here"])]
    fn passes() {
        assert_eq!(std::env::var("WHERE").as_deref(), Ok("here"));
    }
}
