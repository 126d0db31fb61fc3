//! Reloads of the file that the run was started from. They run beside the topology's actors, so
//! that the client that ordered one may go away.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::reload::ReloadError;
use super::running::{Handle, RunningTopology};
use crate::config::Diagnostics;
use crate::plan::Plan;
use crate::plan::changes::{Changes, Moves};

type Reading = dyn Fn() -> Result<Plan, Diagnostics> + Send + Sync;

/// Reads the file again that a run was started from.
#[derive(Clone)]
pub struct Reread(Arc<Reading>);

impl Reread {
    /// `read` may block; it gets every mistake of the file with its place.
    pub fn new(read: impl Fn() -> Result<Plan, Diagnostics> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Reread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reread")
    }
}

/// An order to read the file again and to go on with it, or only to compare it.
pub(super) struct Order {
    moves: Moves,
    /// True to compare only.
    plan: bool,
    reply: oneshot::Sender<Result<Changes, ReloadError>>,
}

/// Where orders are taken.
pub(super) type Orders = UnboundedSender<Order>;

/// A channel for orders.
pub(super) fn orders() -> (Orders, UnboundedReceiver<Order>) {
    unbounded_channel()
}

/// Carries out orders, one after the other, until the topology is gone.
pub(super) async fn serve(
    topology: Weak<Handle>,
    reread: Reread,
    mut orders: UnboundedReceiver<Order>,
) {
    while let Some(Order { moves, plan, reply }) = orders.recv().await {
        let Some(shared) = topology.upgrade() else {
            return;
        };
        let done = RunningTopology { shared }.carry_out_order(&reread, &moves, plan).await;
        // The client may have gone.
        let _ = reply.send(done);
    }
}

impl RunningTopology {
    async fn carry_out_order(
        &self,
        Reread(read): &Reread,
        moves: &Moves,
        plan: bool,
    ) -> Result<Changes, ReloadError> {
        let read = read.clone();
        let found = self.inner().context.pool.wait_for(move || read()).await;
        let new = match found {
            Ok(Ok(new)) => new,
            Ok(Err(mistakes)) => return Err(ReloadError::Invalid(mistakes)),
            Err(_) => return Err(ReloadError::Ended),
        };
        match plan {
            true => self.changes(&new, moves),
            false => self.reload(new, moves).await,
        }
    }

    /// Reads the file of the run again and goes on with it, as [`RunningTopology::reload`] does; or
    /// only says what would change, if `plan` is true. The order is carried out even if the future
    /// is dropped.
    ///
    /// # Errors
    /// [`ReloadError`]; [`ReloadError::Invalid`] with all mistakes of the file.
    pub fn reload_file(
        &self,
        moves: Moves,
        plan: bool,
    ) -> impl Future<Output = Result<Changes, ReloadError>> + Send + use<> {
        let (reply, done) = oneshot::channel();
        let sent = match self.inner().orders.get() {
            None => Err(ReloadError::NoFile),
            Some(orders) => {
                let order = Order { moves, plan, reply };
                orders.send(order).map_err(|_| ReloadError::Ended)
            }
        };
        async move {
            sent?;
            done.await.unwrap_or(Err(ReloadError::Ended))
        }
    }
}
