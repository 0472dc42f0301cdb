//! QEMU's control protocol: one JSON object a line.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

use crate::vmm::VmmError;

/// A control connection. Dropping it leaves QEMU as it is.
#[derive(Debug)]
pub(crate) struct Qmp {
    writer: OwnedWriteHalf,
    replies: mpsc::Receiver<Value>,
    full_disk: watch::Receiver<Option<String>>,
}

impl Qmp {
    /// Takes the greeting and leaves negotiation mode.
    pub(crate) async fn negotiate(stream: UnixStream) -> Result<Self, VmmError> {
        let (reader, writer) = stream.into_split();
        let (reply, replies) = mpsc::channel(4);
        let (full, full_disk) = watch::channel(None);
        tokio::spawn(read_messages(reader, reply, full));
        let mut this = Self { writer, replies, full_disk };
        this.execute("qmp_capabilities", json!({})).await?;
        Ok(this)
    }

    /// Runs a command and returns what it returned.
    pub(crate) async fn execute(
        &mut self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, VmmError> {
        let request = format!("{}\n", json!({"execute": command, "arguments": arguments}));
        self.writer.write_all(request.as_bytes()).await.map_err(VmmError::Control)?;
        let ended = || VmmError::Control(io::ErrorKind::UnexpectedEof.into());
        let mut reply = self.replies.recv().await.ok_or_else(ended)?;
        match reply.get("error") {
            Some(error) => Err(VmmError::Refused {
                command,
                reason: error["desc"].as_str().unwrap_or("no reason given").to_owned(),
            }),
            None => Ok(reply["return"].take()),
        }
    }

    /// The loopback port that leads to the guest's sshd.
    pub(crate) async fn forwarded_port(&mut self) -> Result<u16, VmmError> {
        let command = "human-monitor-command";
        let arguments = json!({"command-line": "info usernet"});
        let text = self.execute(command, arguments).await?;
        parse_forwarded_port(text.as_str().unwrap_or_default()).ok_or_else(|| VmmError::Refused {
            command: "info usernet",
            reason: format!("no forwarded port in {text}"),
        })
    }

    /// A watch on the node whose disk could not grow, if that happened.
    pub(crate) fn full_disk(&self) -> watch::Receiver<Option<String>> {
        self.full_disk.clone()
    }
}

/// Sorts what QEMU sends into replies and the one event that nothing else would tell us.
async fn read_messages(
    reader: OwnedReadHalf,
    reply: mpsc::Sender<Value>,
    full_disk: watch::Sender<Option<String>>,
) {
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        if message.get("return").is_some() || message.get("error").is_some() {
            if reply.send(message).await.is_err() {
                return;
            }
        } else if message["event"] == "BLOCK_IO_ERROR" && message["data"]["nospace"] == true {
            let node = message["data"]["node-name"].as_str().unwrap_or("root");
            full_disk.send_replace(Some(node.to_owned()));
        } else if let Some(event) = message["event"].as_str() {
            tracing::debug!(event, "QMP");
        }
    }
}

/// Finds the port in QEMU's table of connections.
fn parse_forwarded_port(table: &str) -> Option<u16> {
    let line = table.lines().find(|line| line.contains("HOST_FORWARD"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
