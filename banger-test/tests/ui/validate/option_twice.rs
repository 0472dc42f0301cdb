#[banger::test(ram = 512, vcpu = 1, ram = 1024)]
fn test() {}

fn main() {}
