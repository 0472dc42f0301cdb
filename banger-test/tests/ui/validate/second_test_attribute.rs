#[banger::test]
#[test]
fn test() {}

#[banger::test]
#[tokio::test]
async fn other() {}

fn main() {}
