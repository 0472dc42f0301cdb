#[banger::test("bookworm")]
fn test() {}

fn main() {}
