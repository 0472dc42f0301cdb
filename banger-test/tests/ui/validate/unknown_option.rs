#[banger::test(vcpus = 2)]
fn test() {}

#[banger::test(hypervisor = "kvm")]
fn other() {}

#[banger::test(type = "large")]
fn third() {}

fn main() {}
