#[banger::test(overlay_size = "8GB")]
fn one() {}

#[banger::test(overlay_size = 8)]
fn two() {}

#[banger::test(image = "Debian 12")]
fn three() {}

#[banger::test(packages = "")]
fn four() {}

#[banger::test(init = "sysv")]
fn five() {}

#[banger::test(net = "bridge")]
fn six() {}

#[banger::test(timeout = "soon")]
fn seven() {}

#[banger::test(user = "Root")]
fn eight() {}

#[banger::test(shared = "a b")]
fn nine() {}

fn main() {}
