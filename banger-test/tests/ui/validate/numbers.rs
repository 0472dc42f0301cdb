#[banger::test(vcpu = 17)]
fn one() {}

#[banger::test(vcpu = "2")]
fn two() {}

#[banger::test(ram = 64)]
fn three() {}

#[banger::test(ram)]
fn four() {}

fn main() {}
