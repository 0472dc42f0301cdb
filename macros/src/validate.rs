//! Turns what was parsed into types that cannot be wrong. Each refusal stands at its place and
//! quotes the accepted form.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ItemFn, Lit, Meta, Result, ReturnType, Type};

use crate::parse::{FUNCTION, Given, Input};
use crate::values::{is_file, is_group, is_size, is_suite, is_user, is_variable, milliseconds};

/// Every option.
const OPTIONS: [&str; 13] = [
    "vcpu",
    "ram",
    "overlay_size",
    "image",
    "packages",
    "init",
    "net",
    "timeout",
    "env",
    "files",
    "user",
    "shared",
    "matrix",
];

const VCPU: &str = "a whole number from 1 to 16";
const RAM: &str = "a whole number of MiB from 128 to 32768";
const SIZE: &str =
    "a number of MiB or a size such as \"512M\" or \"8G\", from 64M to 1T, as a string";
const IMAGE: &str = "the name of a Debian suite such as \"bookworm\"";
const PACKAGES: &str =
    "the path of a package list, relative to Cargo.toml, such as \"tests/packages.apt\"";
const INIT: &str = "\"quick\" or \"systemd\"";
const NET: &str = "\"none\", \"auto\", \"user\", \"tap\", \"internet\" or \"host-loopback\", true or false, or `net` alone";
const NETS: &[&str] = &["none", "auto", "user", "tap", "internet", "host-loopback"];
const TIMEOUT: &str = "a time such as \"500ms\", \"30s\" or \"5m\"";
const ENV: &str = "a list of variables such as [\"K=V\"]";
const FILES: &str = "a list of host paths such as [\"/etc/services\", \"big.bin:/srv/big.bin\"]";
const USER: &str = "the name of a user such as \"nobody\"";
const SHARED: &str = "a name of 1 to 64 of a-z, 0-9 and -, such as \"database\"";
const MATRIX: &str =
    "a list of Debian suites such as [\"bookworm\", \"bullseye\"], none of them twice";

/// A test that can be.
pub(crate) struct Case {
    /// Without the attributes that are the harness's business.
    pub(crate) function: ItemFn,
    /// `#[ignore]` and its reason, empty where there is none.
    pub(crate) ignore: Option<(Attribute, String)>,
    /// `#[should_panic]` and the expected text, empty where there is none.
    pub(crate) should_panic: Option<(Attribute, String)>,
    pub(crate) options: Options,
}

/// The options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Settings of the VM, as `cargo banger config` names them.
    pub(crate) settings: Vec<(&'static str, String)>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) files: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) shared: Option<String>,
    /// Suites, each for a test of its own.
    pub(crate) matrix: Vec<String>,
}

/// Checks the options and the function under them.
pub(crate) fn case(input: Input) -> Result<Case> {
    let Input { options, mut function } = input;
    let options = check_options(&options)?;
    check_signature(&function)?;
    let ignore = take(&mut function, "ignore", "expected `#[ignore]` or `#[ignore = \"reason\"]`")?;
    let should_panic = take(
        &mut function,
        "should_panic",
        "expected `#[should_panic]` or `#[should_panic(expected = \"text\")]`",
    )?;
    if let (Some((attribute, _)), true) = (&should_panic, returns(&function.sig.output)) {
        let message = "a test that should panic returns nothing: expected `fn name() { … }`";
        return Err(Error::new(attribute.span(), message));
    }
    check_attributes(&function)?;
    Ok(Case { function, ignore, should_panic, options })
}

fn check_options(given: &[Given]) -> Result<Options> {
    let mut options = Options::default();
    let mut seen = BTreeSet::new();
    for option in given {
        let name = option.name.to_string();
        options.take(&name, option)?;
        if !seen.insert(name) {
            return Err(Error::new(option.span, format!("`{}` is given twice", option.name)));
        }
    }
    if let (true, true, Some(image)) = (
        seen.contains("matrix"),
        seen.contains("image"),
        given.iter().find(|option| option.name == "image"),
    ) {
        return Err(Error::new(image.span, "`matrix` names the images: expected one of the two"));
    }
    Ok(options)
}

impl Options {
    fn take(&mut self, name: &str, option: &Given) -> Result<()> {
        let words = |text: &str| text == "quick" || text == "systemd";
        match name {
            "vcpu" => self.set("vcpu", option.number(1..=16, VCPU)?),
            "ram" => self.set("ram", option.number(128..=32_768, RAM)?),
            "overlay_size" => self.set("overlay-size", option.text(is_size, SIZE)?),
            "image" => self.set("suite", option.text(is_suite, IMAGE)?),
            "packages" => self.set("packages", option.text(|text| !text.is_empty(), PACKAGES)?),
            "init" => self.set("init", option.text(words, INIT)?),
            "net" => self.set("net", option.switch(NETS, NET)?),
            "timeout" => {
                let text = option.text(|text| milliseconds(text).is_some(), TIMEOUT)?;
                self.timeout_ms = milliseconds(&text);
            }
            "env" => {
                let variables = option.texts(is_variable, ENV)?.into_iter();
                let pair = |(text, _): (String, Span)| {
                    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
                };
                self.env = variables.filter_map(pair).collect();
            }
            "files" => self.files = without_spans(option.texts(is_file, FILES)?),
            "user" => self.user = Some(option.text(is_user, USER)?),
            "shared" => self.shared = Some(option.text(is_group, SHARED)?),
            "matrix" => self.matrix = suites(option)?,
            _ => return Err(unknown(name, option.span)),
        }
        Ok(())
    }

    fn set(&mut self, key: &'static str, value: String) {
        self.settings.push((key, value));
    }
}

fn suites(option: &Given) -> Result<Vec<String>> {
    let suites = option.texts(is_suite, MATRIX)?;
    let mut seen = BTreeSet::new();
    for (suite, span) in &suites {
        if !seen.insert(suite) {
            let message = format!("`{suite}` is in `matrix` twice: expected {MATRIX}");
            return Err(Error::new(*span, message));
        }
    }
    Ok(without_spans(suites))
}

fn without_spans(texts: Vec<(String, Span)>) -> Vec<String> {
    texts.into_iter().map(|(text, _)| text).collect()
}

fn unknown(name: &str, span: Span) -> Error {
    let all = OPTIONS.join("`, `");
    let near = OPTIONS.iter().min_by_key(|option| distance(option, name));
    let near = near.filter(|option| distance(option, name) <= option.len().div_ceil(2));
    let meant = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    Error::new(span, format!("unknown option `{name}`; {meant}there are `{all}`"))
}

/// How many letters have to change to make one word of another (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

fn check_signature(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let generics = &signature.generics;
    let unsafety = match &signature.safety {
        syn::Safety::Default => None,
        other => Some(other.span()),
    };
    let refused = [
        (signature.constness.map(|token| token.span()), "a test cannot be `const`"),
        (unsafety, "a test cannot be `unsafe`"),
        (signature.abi.as_ref().map(Spanned::span), "a test cannot be `extern`"),
        (generics.lt_token.map(|token| token.span()), "a test cannot be generic"),
        (generics.where_clause.as_ref().map(Spanned::span), "a test cannot be generic"),
        (signature.inputs.first().map(Spanned::span), "a test takes no arguments"),
        (signature.variadic.as_ref().map(Spanned::span), "a test takes no arguments"),
    ];
    match refused.into_iter().find_map(|(span, why)| Some((span?, why))) {
        Some((span, why)) => Err(Error::new(span, format!("{why}: {FUNCTION}"))),
        None => Ok(()),
    }
}

/// Whether anything but `()` is returned.
fn returns(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, output) => {
            !matches!(&**output, Type::Tuple(tuple) if tuple.elems.is_empty())
        }
    }
}

/// Another test attribute would make a second test of the same function.
fn check_attributes(function: &ItemFn) -> Result<()> {
    let is_test = |attribute: &&Attribute| {
        attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
    };
    let Some(attribute) = function.attrs.iter().find(is_test) else { return Ok(()) };
    let message = "a second test attribute: expected `#[banger::test]` alone; an `async fn` works \
                   as it is, with tokio's runtime where banger-test has the feature `tokio`";
    Err(Error::new(attribute.span(), message))
}

/// Takes an attribute that may have a text out of the function.
fn take(function: &mut ItemFn, name: &str, expected: &str) -> Result<Option<(Attribute, String)>> {
    let Some(at) = function.attrs.iter().position(|attribute| attribute.path().is_ident(name))
    else {
        return Ok(None);
    };
    let attribute = function.attrs.remove(at);
    if let Some(second) = function.attrs.iter().find(|attribute| attribute.path().is_ident(name)) {
        return Err(Error::new(second.span(), format!("`{name}` is given twice")));
    }
    let text = text_of(&attribute).ok_or_else(|| Error::new(attribute.span(), expected))?;
    Ok(Some((attribute, text)))
}

/// The text of `#[name]`, `#[name = "text"]` or `#[name(expected = "text")]`.
fn text_of(attribute: &Attribute) -> Option<String> {
    let literal = |value: &Expr| match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    };
    match &attribute.meta {
        Meta::Path(_) => Some(String::new()),
        Meta::NameValue(pair) => literal(&pair.value),
        Meta::List(list) => {
            let pair: syn::MetaNameValue = list.parse_args().ok()?;
            pair.path.is_ident("expected").then(|| literal(&pair.value)).flatten()
        }
    }
}

#[cfg(test)]
mod tests;
