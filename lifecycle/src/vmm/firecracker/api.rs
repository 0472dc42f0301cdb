//! Requests to Firecracker's API: JSON over HTTP on a Unix socket.

use std::io;

use camino::Utf8Path;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyperlocal::{UnixClientExt as _, UnixConnector, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::setup::{Drive, Interface, Setup};
use crate::session::socket::ShortPath;
use crate::vmm::VmmError;

/// A client of one VM's API.
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
        self.put("/snapshot/create", &create).await
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
        let response = self.client.request(request).await.map_err(|error| control(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| control(&error))?;
        let body = body.to_bytes();
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
