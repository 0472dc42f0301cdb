//! QEMU's control protocol: one JSON object a line.
//!
//! A guest may have taken QEMU over: what it sends is bounded, replies that nobody waits for are dropped,
//! and each is waited for for so long only.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};

use crate::process::hand_over;
use crate::vmm::VmmError;
use crate::vmm::lines::{Lines, read_pieces};

/// How long a message may be, in bytes: a table of the guest's connections is the longest.
const LONGEST: usize = 1 << 20;

/// How long QEMU may take to reply, on a busy host; and to have written or read a state.
const REPLY_LIMIT: Duration = Duration::from_secs(60);
const TRANSFER_LIMIT: Duration = Duration::from_secs(300);

/// The name under which QEMU keeps the descriptor of a file of device state.
const STATE: &str = "state";

/// A control connection. Dropping it leaves QEMU as it is.
#[derive(Debug)]
pub(crate) struct Qmp {
    writer: OwnedWriteHalf,
    replies: mpsc::Receiver<Value>,
    seen: watch::Receiver<Seen>,
}

/// What QEMU's events have told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The node whose disk could not grow on the host.
    pub(crate) full_disk: Option<String>,
    /// Whether the guest's agent has left one of its ports.
    pub(crate) agent_ended: bool,
    /// The status of the state's transfer: `active`, `completed`, `failed`, …
    migration: Option<String>,
}

impl Qmp {
    /// Takes the greeting and leaves negotiation mode.
    pub(crate) async fn negotiate(stream: UnixStream) -> Result<Self, VmmError> {
        let (reader, writer) = stream.into_split();
        let (reply, replies) = mpsc::channel(1);
        let (sender, seen) = watch::channel(Seen::default());
        tokio::spawn(read_messages(reader, reply, sender));
        let mut this = Self { writer, replies, seen };
        this.execute("qmp_capabilities", json!({})).await?;
        Ok(this)
    }

    /// Runs a command and returns what it returned.
    pub(crate) async fn execute(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, VmmError> {
        let request = request(command, &arguments);
        self.forget();
        let asking = async {
            self.writer.write_all(request.as_bytes()).await.map_err(VmmError::Control)?;
            self.reply(command).await
        };
        within(REPLY_LIMIT, asking).await
    }

    /// The loopback port that leads to the guest's sshd.
    pub(crate) async fn forwarded_port(&mut self) -> Result<u16, VmmError> {
        let command = "human-monitor-command";
        let arguments = json!({"command-line": "info usernet"});
        let text = self.execute(command, arguments).await?;
        parse_forwarded_port(text.as_str().unwrap_or_default()).ok_or_else(|| VmmError::Refused {
            command: "info usernet".to_owned(),
            reason: format!("no forwarded port in {text}"),
        })
    }

    /// Has whoever connects to a socket be on the other side of a port, in place of who is. QEMU makes
    /// the socket.
    pub(crate) async fn listen(&mut self, port: &str, socket: &str) -> Result<(), VmmError> {
        let address = json!({"type": "unix", "data": {"path": socket}});
        let data = json!({"addr": address, "server": true, "wait": false});
        let backend = json!({"type": "socket", "data": data});
        self.execute("chardev-change", json!({"id": port, "backend": backend})).await.map(drop)
    }

    /// Has what the guest writes to a disk from now on go to another qcow2 file, an empty one; what it has
    /// written so far is complete then, and is only read any more.
    pub(crate) async fn cover(&mut self, disk: &str, file: &str) -> Result<(), VmmError> {
        let arguments = json!({
            "node-name": disk, "snapshot-file": file, "snapshot-node-name": format!("{disk}-2"),
            "format": "qcow2", "mode": "existing",
        });
        self.execute("blockdev-snapshot-sync", arguments).await.map(drop)
    }

    /// Stops the guest and writes the state of its devices; memory that is in a shared file stays
    /// there. The guest does not go on.
    pub(crate) async fn save(&mut self, state: BorrowedFd<'_>) -> Result<(), VmmError> {
        self.prepare_transfer(state).await?;
        self.execute("stop", json!({})).await?;
        self.execute("migrate", json!({"uri": format!("fd:{STATE}")})).await?;
        self.transferred("migrate").await
    }

    /// Reads the state of the devices and has the guest go on from it.
    pub(crate) async fn load(&mut self, state: BorrowedFd<'_>) -> Result<(), VmmError> {
        self.prepare_transfer(state).await?;
        self.execute("migrate-incoming", json!({"uri": format!("fd:{STATE}")})).await?;
        self.transferred("migrate-incoming").await?;
        self.execute("cont", json!({})).await.map(drop)
    }

    /// A watch on what QEMU's events tell.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }

    async fn prepare_transfer(&mut self, state: BorrowedFd<'_>) -> Result<(), VmmError> {
        let on = |capability: &str| json!({"capability": capability, "state": true});
        let capabilities = json!({"capabilities": [on("x-ignore-shared"), on("events")]});
        self.execute("migrate-set-capabilities", capabilities).await?;
        let command = "getfd";
        let request = request(command, &json!({"fdname": STATE}));
        self.forget();
        let asking = async {
            let stream = self.writer.as_ref();
            hand_over(stream, request.as_bytes(), state).await.map_err(VmmError::Control)?;
            self.reply(command).await.map(drop)
        };
        within(REPLY_LIMIT, asking).await
    }

    /// Waits for the end of a transfer.
    async fn transferred(&mut self, command: &'static str) -> Result<(), VmmError> {
        let ended = |seen: &Seen| {
            matches!(seen.migration.as_deref(), Some("completed" | "failed" | "cancelled"))
        };
        let ending = async {
            let seen = self.seen.wait_for(ended).await;
            seen.map(|seen| seen.clone()).map_err(|_| gone())
        };
        let status = within(TRANSFER_LIMIT, ending).await?.migration.unwrap_or_default();
        if status == "completed" {
            return Ok(());
        }
        Err(VmmError::Refused {
            command: command.to_owned(),
            reason: format!("the transfer {status}"),
        })
    }

    /// Drops a reply that nobody has waited for.
    fn forget(&mut self) {
        while self.replies.try_recv().is_ok() {}
    }

    async fn reply(&mut self, command: &'static str) -> Result<Value, VmmError> {
        let mut reply = self.replies.recv().await.ok_or_else(gone)?;
        match reply.get("error") {
            Some(error) => Err(VmmError::Refused {
                command: command.to_owned(),
                reason: error["desc"].as_str().unwrap_or("no reason given").to_owned(),
            }),
            None => Ok(reply["return"].take()),
        }
    }
}

/// A command as one line.
fn request(command: &str, arguments: &Value) -> String {
    format!("{}\n", json!({"execute": command, "arguments": arguments}))
}

fn gone() -> VmmError {
    VmmError::Control(io::ErrorKind::UnexpectedEof.into())
}

/// Awaits something of QEMU's, for so long.
async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, VmmError>>,
) -> Result<T, VmmError> {
    let late = |late: tokio::time::error::Elapsed| VmmError::Control(late.into());
    tokio::time::timeout(limit, what).await.map_err(late)?
}

/// Sorts what QEMU sends into replies and the events that nothing else would tell us.
async fn read_messages(
    from: impl AsyncRead + Unpin,
    reply: mpsc::Sender<Value>,
    seen: watch::Sender<Seen>,
) {
    let mut lines = Lines::new(LONGEST);
    let sort = |line: &[u8]| sort(line, &reply, &seen);
    read_pieces(from, |piece| lines.take(piece, sort)).await;
}

fn sort(line: &[u8], reply: &mpsc::Sender<Value>, seen: &watch::Sender<Seen>) {
    let Ok(message) = serde_json::from_slice::<Value>(line) else { return };
    if message.get("return").is_some() || message.get("error").is_some() {
        return drop(reply.try_send(message));
    }
    let data = &message["data"];
    match message["event"].as_str() {
        Some("BLOCK_IO_ERROR") if data["nospace"] == true => {
            let node = data["node-name"].as_str().unwrap_or("root").to_owned();
            seen.send_modify(|seen| seen.full_disk = Some(node));
        }
        Some("VSERPORT_CHANGE") => {
            seen.send_modify(|seen| seen.agent_ended |= data["open"] == false);
        }
        Some("MIGRATION") => {
            let status = data["status"].as_str().map(str::to_owned);
            seen.send_modify(|seen| seen.migration = status);
        }
        Some(event) => tracing::debug!(event, "QMP"),
        None => {}
    }
}

/// Finds the port in QEMU's table of connections.
fn parse_forwarded_port(table: &str) -> Option<u16> {
    let line = table.lines().find(|line| line.contains("HOST_FORWARD"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    /// A QMP connection, and its other side once that has taken part in the beginning.
    async fn negotiated() -> (Qmp, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let greeting = async {
            let mut request = BufReader::new(&mut theirs).lines();
            assert!(request.next_line().await.unwrap().unwrap().contains("qmp_capabilities"));
            theirs.write_all(b"{\"QMP\": {}}\n{\"return\": {}}\n").await.unwrap();
            theirs
        };
        let (qmp, theirs) = tokio::join!(Qmp::negotiate(ours), greeting);
        (qmp.unwrap(), theirs)
    }

    #[tokio::test]
    async fn a_flood_of_replies_and_events_is_not_kept() {
        let (mut qmp, theirs) = negotiated().await;
        let (reader, mut writer) = theirs.into_split();
        let long = "A".repeat(3 << 20);
        let stale = r#"{"return": "stale"}"#.to_owned() + "\n";
        let event = r#"{"event": "VSERPORT_CHANGE", "data": {"open": true}}"#.to_owned() + "\n";
        let vmm = async move {
            writer.write_all(long.as_bytes()).await.unwrap();
            writer.write_all(b"\n").await.unwrap();
            for _ in 0..1000 {
                writer.write_all(stale.as_bytes()).await.unwrap();
                writer.write_all(event.as_bytes()).await.unwrap();
            }
            let full =
                r#"{"event": "BLOCK_IO_ERROR", "data": {"nospace": true, "node-name": "n"}}"#;
            writer.write_all(format!("{full}\n").as_bytes()).await.unwrap();
            let mut lines = BufReader::new(reader).lines();
            lines.next_line().await.unwrap();
            writer.write_all(b"{\"return\": \"fresh\"}\n").await.unwrap();
            (lines, writer)
        };
        let client = async {
            // All that was sent before has been read, too.
            qmp.seen().wait_for(|seen| seen.full_disk.is_some()).await.unwrap();
            assert!(qmp.replies.len() <= 1);
            qmp.execute("query-status", json!({})).await.unwrap()
        };
        let (said, _open) = tokio::join!(client, vmm);
        assert_eq!(said, "fresh");
    }

    #[tokio::test(start_paused = true)]
    async fn a_vmm_that_is_silent_is_not_waited_for_for_ever() {
        let (mut qmp, _theirs) = negotiated().await;
        let error = qmp.execute("cont", json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot talk to the VMM");
        assert!(qmp.transferred("migrate").await.is_err());
    }

    #[test]
    fn the_port_is_read_from_the_table() {
        let table = "Hub -1 (net):\r\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  TCP[HOST_FORWARD]  13       127.0.0.1 37115       10.0.2.15    22     0     0\r\n";
        assert_eq!(parse_forwarded_port(table), Some(37115));
        assert_eq!(parse_forwarded_port("nothing"), None);
    }

    #[tokio::test]
    async fn errors_carry_the_words_of_the_vmm() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let vmm = async move {
            let (reader, mut writer) = theirs.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            lines.next_line().await.unwrap();
            writer.write_all(b"{\"return\": {}}\n").await.unwrap();
            lines.next_line().await.unwrap();
            writer.write_all(b"{\"event\": \"STOP\"}\n").await.unwrap();
            writer.write_all(b"{\"error\": {\"desc\": \"no such\"}}\n").await.unwrap();
        };
        let client = async move {
            let mut qmp = Qmp::negotiate(ours).await.unwrap();
            qmp.execute("frobnicate", json!({})).await.unwrap_err().to_string()
        };
        let (error, ()) = tokio::join!(client, vmm);
        assert_eq!(error, "the VMM refused `frobnicate`: no such");
    }
}
