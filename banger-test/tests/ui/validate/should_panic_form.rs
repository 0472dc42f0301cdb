#[banger::test]
#[should_panic(message = "boom")]
fn test() {}

fn main() {}
