#[banger::test]
#[ignore(slow)]
fn test() {}

fn main() {}
