#[banger::test(vcpus = 2)]
fn test() {}

#[banger::test(hypervisor = "kvm")]
fn other() {}

fn main() {}
