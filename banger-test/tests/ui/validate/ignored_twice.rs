#[banger::test]
#[ignore]
#[ignore = "again"]
fn test() {}

fn main() {}
