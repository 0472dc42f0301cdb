//! `cargo banger supervise`: the VM of one test, as long as whoever asked for it is there.
//!
//! `banger-test` starts this as a child and speaks [`banger_protocol`] with it. When its input
//! ends, for whatever reason, the VM is taken down.

mod session;
mod wire;

use banger_lifecycle::event::Events;

use self::session::Session;
use self::wire::{Replies, Requests};
use crate::context::Context;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

/// Serves requests until there are no more.
pub(crate) async fn supervise(context: &Context) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let (replies, writing) = Replies::to(tokio::io::stdout());
    let writing = tokio::spawn(writing);
    let teller = replies.clone();
    let context = Context { events: Events::new(move |what| teller.tell(what)), ..context.clone() };
    let mut session = Session::new(&context, replies);
    let mut requests = Requests::from(tokio::io::stdin());
    // Whatever is under way when a signal comes is dropped, and with it what it has made so far.
    tokio::select! {
        () = session.serve(&mut requests) => {}
        _ = interrupts.next() => {}
    }
    let ended = session.end().await;
    drop(session);
    drop(context);
    // Nobody may be reading any more.
    drop(writing.await);
    ended.map(|()| 0)
}
