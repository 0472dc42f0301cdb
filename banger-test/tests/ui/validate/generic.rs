#[banger::test]
fn test<T>() {}

#[banger::test]
fn bounded()
where
    u8: Copy,
{
}

fn main() {}
