//! Lists as one text, as a variable holds them: separated by commas, `\,` being a comma within an
//! item and `\\` a backslash.

/// The text of a list.
pub(crate) fn join<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let escaped = items.into_iter().map(|item| item.replace('\\', r"\\").replace(',', r"\,"));
    escaped.collect::<Vec<_>>().join(",")
}

/// The items of a text; empty ones are none.
pub(crate) fn split(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let item = items.last_mut().expect("there is always an item");
        match next {
            ',' => items.push(String::new()),
            '\\' => item.push(rest.next_if(|c| matches!(c, ',' | '\\')).unwrap_or('\\')),
            other => item.push(other),
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_survive_whatever_they_hold() {
        let items = ["A", "B=1,2", r"C=\", r"D=a\b\,c"];
        assert_eq!(split(&join(items)), items);
    }

    #[test]
    fn a_plain_text_is_split_at_its_commas() {
        assert_eq!(split(r"A,,B=c:\d,"), ["A", r"B=c:\d"]);
        assert!(split("").is_empty());
    }
}
