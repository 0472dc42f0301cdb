#[banger::test]
#[should_panic]
fn test() -> Result<(), String> {
    Ok(())
}

fn main() {}
