#[banger::test]
fn test(machine: u8) {}

fn main() {}
