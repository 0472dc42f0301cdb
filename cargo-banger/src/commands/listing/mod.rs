//! The tests that an executable has: it lists them itself, which is running it, so it does in a VM.
//!
//! ```text
//! inputs' digest ─► noted? ── yes ──────────────────────────► the list
//!                     └─ no ─► a VM: --list … ─► well-formed? ─► noted ─┘
//!                                                     └─ no ──► the whole executable is one test
//! ```
//!
//! A list holds as long as nothing changes that the executable could see. One that lists nothing, or
//! something else, is run as a whole wherever one of its tests would be, so that it is never counted
//! without having run.

mod entries;
mod guest;
mod question;
mod whole;

use std::ffi::OsString;

use banger_lifecycle::rundir::Notes;
use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub(crate) use self::entries::{Entry, Kind};
use self::guest::Asking;
pub(crate) use self::question::Question;
use self::question::stem;
pub(crate) use self::whole::instead_of;
use crate::boot::{Request, Wish};
use crate::context::Context;
use crate::errand::within;
use crate::error::CommandError;
use crate::settings::Flags;

/// What nextest tells each of its runs apart by: of no concern to a list, and new for each run.
const RUN_ID: &str = crate::env::NEXTEST_RUN_ID;

/// An executable, and all that it is given when it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) program: Utf8PathBuf,
    /// Its arguments, but for those that ask for a list.
    pub(crate) arguments: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
}

/// What an executable has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listing {
    /// These are its tests; `ignored` are those of them that are, where that was asked.
    Tests { tests: Vec<Entry>, ignored: Vec<Entry> },
    /// It does not list: it is one test.
    Whole,
}

impl Listing {
    /// Reads a note; what is not as it was written is no note.
    fn read(note: &[u8]) -> Option<Self> {
        let listing: Self = serde_json::from_slice(note).ok()?;
        let sound = match &listing {
            Self::Tests { tests, ignored } => tests.iter().chain(ignored).all(Entry::is_sound),
            Self::Whole => true,
        };
        sound.then_some(listing)
    }
}

/// What an executable has, from a note or from a VM.
pub(crate) async fn list(
    mut call: Call,
    ignored_too: bool,
    flags: &Flags,
    context: &Context,
) -> Result<Listing, CommandError> {
    call.env.retain(|(name, _)| name != RUN_ID);
    let wish = Wish {
        flags: flags.clone(),
        program: Some(call.program.clone()),
        single_test: true,
        ..Wish::default()
    };
    let request = Request::check(context, wish).await?;
    call.env.extend(request.settings.env.iter().cloned());
    let asking = Asking { directory: request.directory().map(ToOwned::to_owned), call };
    let form = if ignored_too { "--ignored" } else { "" };
    let inputs = request.inputs(asking.command(&["--list", form]), context).await?;
    let name = format!("list-{}", inputs.digest(&context.layout).await?);
    let notes = Notes::new(&context.layout);
    let noted = || notes.read(&name).and_then(|note| Listing::read(&note));
    if let Some(listing) = noted() {
        return Ok(listing);
    }
    // Whoever asks the same at the same time waits for the answer of the first.
    let _turn = notes.turn(&name).await?;
    if let Some(listing) = noted() {
        return Ok(listing);
    }
    let listing = in_vm(&asking, ignored_too, request, context).await?;
    // What changed meanwhile may or may not have been what the VM was given.
    if format!("list-{}", inputs.digest(&context.layout).await?) == name {
        let note = serde_json::to_vec(&listing).map_err(std::io::Error::from)?;
        if let Err(error) = notes.write(&name, &note) {
            context.events.detail(format!("the list of tests is not kept: {error}"));
        }
    }
    Ok(listing)
}

async fn in_vm(
    asking: &Asking,
    ignored_too: bool,
    request: Request,
    context: &Context,
) -> Result<Listing, CommandError> {
    let timeout = request.settings.timeout;
    let mut guest = request.start(context).await?;
    let listing = within(timeout, guest::list(asking, ignored_too, &mut guest)).await;
    let ended = guest.shutdown().await;
    let listing = listing?;
    ended?;
    Ok(listing)
}

/// Answers for an executable; `None` where it has to answer itself, in a form that only it knows.
pub(crate) async fn answer(
    question: &Question,
    call: Call,
    flags: &Flags,
    context: &Context,
) -> Result<Option<String>, CommandError> {
    let program = call.program.clone();
    // nextest asks for both, one after the other; people for one.
    let ignored_too = question.terse || question.ignored;
    let listing = list(call, ignored_too, flags, context).await?;
    whole::note(&program, &listing, context)?;
    Ok(match &listing {
        Listing::Tests { tests, ignored } => {
            let entries = if question.ignored { ignored } else { tests };
            Some(entries::print(entries, question.terse))
        }
        Listing::Whole if !question.terse => None,
        Listing::Whole if question.ignored => Some(String::new()),
        Listing::Whole => Some(entries::print(&[Entry::test(stem(&program))], true)),
    })
}
