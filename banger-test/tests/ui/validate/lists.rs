#[banger::test(env = "K=V")]
fn one() {}

#[banger::test(env = ["K"])]
fn two() {}

#[banger::test(files = ["a:b"])]
fn three() {}

#[banger::test(files = [])]
fn four() {}

#[banger::test(matrix = ["bookworm", "bookworm"])]
fn five() {}

fn main() {}
