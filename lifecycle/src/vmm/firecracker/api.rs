//! Requests to Firecracker's API: JSON over HTTP on a Unix socket.

use std::io;
use std::time::Duration;

use camino::Utf8Path;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyperlocal::{UnixClientExt as _, UnixConnector, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::setup::{Drive, Interface, Setup};
use crate::session::socket::ShortPath;
use crate::vmm::VmmError;

/// How long an answer may be, in bytes.
const LONGEST: usize = 64 << 10;

/// How long an answer may take; and that to a request which writes all of the guest's memory.
const LIMIT: Duration = Duration::from_secs(60);
const SAVE_LIMIT: Duration = Duration::from_secs(900);
const SAVE: &str = "/snapshot/create";

/// A client of one VM's API. Who answers may be a guest's that has taken Firecracker over.
#[derive(Debug)]
pub(crate) struct Api {
    client: Client<UnixConnector, Full<Bytes>>,
    socket: ShortPath,
}

/// What Firecracker answers to a request that it refuses.
#[derive(Debug, Deserialize)]
struct Fault {
    fault_message: String,
}

/// Who answers.
#[derive(Debug, Deserialize)]
struct Version {
    firecracker_version: String,
}

impl Api {
    /// Speaks to the API at a socket.
    pub(crate) fn new(socket: &Utf8Path) -> io::Result<Self> {
        Ok(Self { client: Client::unix(), socket: ShortPath::to(socket)? })
    }

    /// Whether anybody listens on the socket.
    pub(crate) async fn is_there(&self) -> bool {
        tokio::net::UnixStream::connect(self.socket.as_path()).await.is_ok()
    }

    /// The version of who answers.
    pub(crate) async fn version(&self) -> Result<String, VmmError> {
        let body = self.request(Method::GET, "/version", None::<&()>).await?;
        let answer: Version = serde_json::from_slice(&body)
            .map_err(|error| VmmError::Control(io::Error::from(error)))?;
        Ok(answer.firecracker_version)
    }

    /// Describes the VM and starts it.
    pub(crate) async fn boot(&self, setup: &Setup) -> Result<(), VmmError> {
        self.put("/machine-config", &setup.machine).await?;
        self.put("/boot-source", &setup.boot).await?;
        for drive in &setup.drives {
            self.put(&format!("/drives/{}", drive.drive_id), drive).await?;
        }
        for interface in &setup.interfaces {
            let path = format!("/network-interfaces/{}", interface.iface_id);
            self.put(&path, interface).await?;
        }
        self.put("/vsock", &setup.vsock).await?;
        self.put("/entropy", &json!({})).await?;
        self.put("/actions", &json!({"action_type": "InstanceStart"})).await?;
        self.restrain(setup).await
    }

    /// Limits how much the devices move.
    async fn restrain(&self, setup: &Setup) -> Result<(), VmmError> {
        if let Some(limiter) = &setup.limits.disk {
            for Drive { drive_id, .. } in &setup.drives {
                let limits = json!({ "drive_id": drive_id, "rate_limiter": limiter });
                self.patch(&format!("/drives/{drive_id}"), &limits).await?;
            }
        }
        if let Some(limiter) = &setup.limits.net {
            for Interface { iface_id, .. } in &setup.interfaces {
                let limits = json!({
                    "iface_id": iface_id,
                    "rx_rate_limiter": limiter,
                    "tx_rate_limiter": limiter,
                });
                self.patch(&format!("/network-interfaces/{iface_id}"), &limits).await?;
            }
        }
        Ok(())
    }

    /// Has the guest go on from a state.
    pub(crate) async fn load(
        &self,
        setup: &Setup,
        state: &Utf8Path,
        memory: &Utf8Path,
    ) -> Result<(), VmmError> {
        let load = json!({
            "snapshot_path": state,
            "mem_backend": { "backend_type": "File", "backend_path": memory },
            "resume_vm": true,
        });
        self.put("/snapshot/load", &load).await?;
        self.restrain(setup).await
    }

    /// Stops the guest and writes all its state. The guest does not go on.
    pub(crate) async fn save(&self, state: &Utf8Path, memory: &Utf8Path) -> Result<(), VmmError> {
        self.patch("/vm", &json!({"state": "Paused"})).await?;
        let create = json!({
            "snapshot_type": "Full",
            "snapshot_path": state,
            "mem_file_path": memory,
        });
        self.put(SAVE, &create).await
    }

    async fn put(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<(), VmmError> {
        self.request(Method::PUT, path, Some(body)).await.map(drop)
    }

    async fn patch(&self, path: &str, body: &(impl Serialize + Sync)) -> Result<(), VmmError> {
        self.request(Method::PATCH, path, Some(body)).await.map(drop)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Bytes, VmmError> {
        let what = format!("{method} {path}");
        let control = |error: &dyn std::fmt::Display| {
            VmmError::Control(io::Error::other(format!("{what}: {error}")))
        };
        let text = body.map(serde_json::to_vec).transpose().map_err(|error| control(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(hyper::Uri::from(Uri::new(self.socket.as_path(), path)))
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(text.unwrap_or_default()))
            .map_err(|error| control(&error))?;
        let asking = async {
            let response = self.client.request(request).await.map_err(|error| control(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            Ok::<_, VmmError>((parts.status, body.map_err(|error| control(&error))?.to_bytes()))
        };
        let limit = if path == SAVE { SAVE_LIMIT } else { LIMIT };
        let answer = tokio::time::timeout(limit, asking).await;
        let (status, body) = answer.map_err(|late| control(&late))??;
        if status.is_success() {
            return Ok(body);
        }
        let reason = match serde_json::from_slice::<Fault>(&body) {
            Ok(fault) => fault.fault_message,
            Err(_) => format!("{status}: {}", String::from_utf8_lossy(&body)),
        };
        Err(VmmError::Refused { command: what, reason })
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// A Firecracker that sends this to the first who connects, and goes on with `A`s without end where it
    /// floods.
    fn sending(answer: &'static str, floods: bool) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = Utf8Path::from_path(dir.path()).unwrap().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            stream.read_u8().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            while floods && stream.write_all(&[b'A'; 65536]).await.is_ok() {}
            std::future::pending::<()>().await;
        });
        (dir, socket)
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_taken_in() {
        for answer in
            ["HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n", "HTTP/1.1 200 OK\r\nx: "]
        {
            let (_dir, socket) = sending(answer, true);
            let api = Api::new(&socket).unwrap();
            assert!(matches!(api.version().await, Err(VmmError::Control(_))), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
        let (_dir, socket) = sending("HTTP/1.1 200 OK\r\n", false);
        let api = Api::new(&socket).unwrap();
        assert!(matches!(api.version().await, Err(VmmError::Control(_))));
    }
}
