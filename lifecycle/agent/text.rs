//! Fields, numbers and escapes of the lines. Pure.

/// The fields of a line.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b'\t')
}

/// A whole number.
pub fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Writes a number in decimal.
pub fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Bytes from pairs of hexadecimal digits; how many there were.
pub fn hex(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    for (byte, [high, low]) in bytes.get_mut(..pairs.len())?.iter_mut().zip(pairs) {
        *byte = (digit(*high)? * 16 + digit(*low)?) as u8;
    }
    Some(pairs.len())
}

/// Undoes the escapes of a field; its length, or `None` where the buffer is too short.
pub fn unescape(field: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (mut from, mut length) = (field.iter(), 0);
    while let Some(byte) = from.next() {
        let byte = match byte {
            b'\\' => match from.next()? {
                b'n' => b'\n',
                b't' => b'\t',
                other => *other,
            },
            byte => *byte,
        };
        *buffer.get_mut(length)? = byte;
        length += 1;
    }
    Some(length)
}
