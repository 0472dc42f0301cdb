#[banger::test(ram = 2 * 1024)]
fn test() {}

#[banger::test(ram = two())]
fn other() {}

fn main() {}
