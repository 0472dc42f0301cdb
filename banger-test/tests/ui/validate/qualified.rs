#[banger::test]
unsafe fn test() {}

#[banger::test]
const fn constant() {}

#[banger::test]
extern "C" fn foreign() {}

fn main() {}
