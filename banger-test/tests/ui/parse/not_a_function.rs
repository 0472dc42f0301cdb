#[banger::test]
struct Machine;

fn main() {}
