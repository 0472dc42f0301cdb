#[banger::test(image = "bookworm", matrix = ["bullseye"])]
fn test() {}

fn main() {}
