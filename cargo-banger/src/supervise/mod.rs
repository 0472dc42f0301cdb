//! `cargo banger supervise`: the VM of one test, as long as whoever asked for it is there.
//!
//! `banger-test` starts this as a child and speaks [`banger_protocol`] with it. When its input
//! ends, for whatever reason, the VM is taken down.

mod group;
mod session;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};

use banger_lifecycle::event::Events;

use self::session::Session;
use self::wire::{Replies, Requests};
use crate::cli::SuperviseArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

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
            group::serve(&name, owner, &context, &mut session).await?;
        }
        None => one(&mut session).await?,
    }
    session.end().await.map(|()| 0)
}

/// Serves the test that is our parent.
async fn one(session: &mut Session<'_>) -> Result<(), CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let (replies, writing) = Replies::to(tokio::io::stdout());
    let writing = tokio::spawn(writing);
    let mut requests = Requests::from(tokio::io::stdin());
    // Whatever is under way when a signal comes is dropped, and with it what it has made so far.
    tokio::select! {
        () = session.serve(&mut requests, replies) => {}
        _ = interrupts.next() => {}
    }
    // It ends once nobody sends anything, events neither.
    session.listen(None);
    // Nobody may be reading any more.
    drop(writing.await);
    Ok(())
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
