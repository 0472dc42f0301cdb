//! Requests coming in and replies going out.

use std::io;

use banger_lifecycle::event::Event;
use banger_protocol::frame;
use banger_protocol::reply::{Reply, Stream};
use banger_protocol::request::Request;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::sync::{mpsc, watch};

/// How many replies may wait to be written before whoever makes them has to.
const WAITING: usize = 16;

/// How many events may wait to be told.
const EVENTS_WAITING: usize = 256;

/// A request, and the bytes that followed it.
pub(super) type Asked = (Request, Vec<u8>);

/// What is asked, as it comes in.
pub(super) struct Requests {
    asked: mpsc::Receiver<io::Result<Asked>>,
    open: watch::Receiver<bool>,
}

impl Requests {
    /// Reads on from now, so that the end is noticed whatever else is being done.
    pub(super) fn from(input: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, asked) = mpsc::channel(WAITING);
        let (still_open, open) = watch::channel(true);
        tokio::spawn(async move {
            let mut input = BufReader::new(input);
            while let Some(request) = read(&mut input).await.transpose() {
                let last = request.is_err();
                if sender.send(request).await.is_err() || last {
                    break;
                }
            }
            still_open.send_replace(false);
        });
        Self { asked, open }
    }

    /// The next request; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<io::Result<Asked>> {
        self.asked.recv().await
    }

    /// Resolves when whoever asks has gone.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let mut open = self.open.clone();
        async move { drop(open.wait_for(|open| !open).await) }
    }
}

async fn read(input: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Option<Asked>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let request: Request = frame::parse(&line)?;
    let mut bytes = Vec::new();
    if let Request::Run(run) = &request {
        input.take(run.input).read_to_end(&mut bytes).await?;
    }
    Ok(Some((request, bytes)))
}

/// Where replies go. Cheap to clone.
#[derive(Clone)]
pub(super) struct Replies {
    /// Replies wait while the other side does not read.
    replies: mpsc::Sender<Vec<u8>>,
    /// Events come from where nobody can wait: what there is no room for is left out.
    events: mpsc::Sender<Vec<u8>>,
}

impl Replies {
    /// The future writes them, until all clones are gone or nobody reads.
    pub(super) fn to(
        mut output: impl AsyncWrite + Unpin + Send + 'static,
    ) -> (Self, impl Future<Output = io::Result<()>> + Send) {
        let (replies, mut said) = mpsc::channel::<Vec<u8>>(WAITING);
        let (events, mut told) = mpsc::channel::<Vec<u8>>(EVENTS_WAITING);
        let writing = async move {
            loop {
                let bytes = tokio::select! {
                    biased;
                    Some(bytes) = told.recv() => bytes,
                    Some(bytes) = said.recv() => bytes,
                    else => return Ok(()),
                };
                output.write_all(&bytes).await?;
                output.flush().await?;
            }
        };
        (Self { replies, events }, writing)
    }

    /// Sends a reply.
    pub(super) async fn send(&self, reply: &Reply) {
        drop(self.replies.send(frame::line(reply)).await);
    }

    /// Sends bytes that are replies already.
    pub(super) async fn raw(&self, bytes: Vec<u8>) {
        drop(self.replies.send(bytes).await);
    }

    /// Sends a piece of a command's output.
    pub(super) async fn output(&self, stream: Stream, bytes: &[u8]) {
        let mut message = frame::line(&Reply::Output { stream, bytes: bytes.len() as u64 });
        message.extend(bytes);
        drop(self.replies.send(message).await);
    }

    /// Passes on what a person wants to know of an event.
    pub(super) fn tell(&self, event: Event) {
        let text = match event {
            Event::Progress { what: text, done: 0, .. } | Event::Note { text } => text,
            Event::Warning { text, hint: None } => format!("warning: {text}"),
            Event::Warning { text, hint: Some(hint) } => format!("warning: {text}\nhint: {hint}"),
            _ => return,
        };
        drop(self.events.try_send(frame::line(&Reply::Told { text })));
    }
}
