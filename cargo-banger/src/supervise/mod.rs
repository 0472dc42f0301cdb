//! `cargo banger supervise`: the VM of one test, as long as whoever asked for it is there.
//!
//! `banger-test` starts this as a child and speaks [`banger_protocol`] with it. When its input
//! ends, for whatever reason, the VM is taken down.

mod group;
mod session;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use banger_lifecycle::event::Events;
use tokio::task::JoinHandle;

use self::session::Session;
use self::wire::{Replies, Requests};
use crate::cli::SuperviseArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

/// How long whoever has asked may take to read the last replies.
const LAST_REPLIES: Duration = Duration::from_secs(5);

/// Whoever is served now: events go there.
type Listener = Arc<Mutex<Option<Replies>>>;

/// Serves requests until there are no more.
pub(crate) async fn supervise(args: SuperviseArgs, context: &Context) -> Result<u8, CommandError> {
    let listener = Listener::default();
    let context = Context { events: events(&listener), ..context.clone() };
    let mut session = Session::new(&context, listener);
    match args.group.zip(args.owner) {
        Some((name, owner)) => {
            session.serves_group = true;
            group::serve(&name, owner, &context, &mut session).await
        }
        None => one(&mut session).await,
    }
    .map(|()| 0)
}

/// Serves the test that is our parent.
async fn one(session: &mut Session<'_>) -> Result<(), CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let (replies, writing) = Replies::to(tokio::io::stdout());
    let writing = tokio::spawn(writing);
    let mut requests = Requests::from(tokio::io::stdin());
    // Whatever is under way when a signal comes is dropped, and with it what it has made so far.
    let served = async {
        session.serve(&mut requests, replies).await;
        Ok(())
    };
    let served = interrupts.end(served).await;
    // It ends once nobody sends anything, events neither.
    session.listen(None);
    written(writing).await;
    finish(session, served, &mut interrupts).await
}

/// Takes the VM down: at once where somebody wants an end.
async fn finish(
    session: &mut Session<'_>,
    served: Result<(), CommandError>,
    interrupts: &mut Interrupts,
) -> Result<(), CommandError> {
    if served.is_err() {
        session.give_up();
        return Ok(());
    }
    interrupts.end(session.end()).await
}

/// Waits until all replies are written, or nobody reads them any more.
async fn written(writing: JoinHandle<io::Result<()>>) {
    let stop = writing.abort_handle();
    if tokio::time::timeout(LAST_REPLIES, writing).await.is_err() {
        stop.abort();
    }
}

fn events(listener: &Listener) -> Events {
    let listener = Arc::clone(listener);
    Events::new(move |event| {
        let listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(replies) = &*listener {
            replies.tell(event);
        }
    })
}
