//! A handle for the topology's own servers, which must not keep it alive.

use std::io;
use std::sync::{Arc, OnceLock, PoisonError, Weak};

use super::running::{Handle, RunningTopology};
use crate::http::OperationsListener;

/// The topology that is about to run, runs, or has run.
pub(crate) struct TopologyLink {
    name: String,
    handle: OnceLock<Weak<Handle>>,
}

impl TopologyLink {
    pub(super) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), handle: OnceLock::new() })
    }

    /// Connects the link. Only the first call has an effect.
    pub(super) fn connect(&self, running: &RunningTopology) {
        let _ = self.handle.set(Arc::downgrade(&running.shared));
    }

    /// Name of the topology.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The running topology; `None` before all of its actors are made, and after the last handle.
    pub(crate) fn get(&self) -> Option<RunningTopology> {
        Some(RunningTopology { shared: self.handle.get()?.upgrade()? })
    }
}

impl RunningTopology {
    /// Starts the server for operators.
    pub(super) fn serve_operations(
        &self,
        listener: OperationsListener,
        link: &Arc<TopologyLink>,
    ) -> io::Result<()> {
        let server = listener.serve(link)?;
        *self.shared.operations.lock().unwrap_or_else(PoisonError::into_inner) = Some(server);
        Ok(())
    }
}
