//! The yardstick: a bare WebSocket echo on the same stack, under the same load, in the same run.
//!
//! It keeps nothing, knows nobody and answers each message with itself, so what a server costs more than this is the
//! service's own. Figures of two machines compare by their ratio to it.

use super::{
    child::Child,
    client::Peer,
    load::{self, Load, Sessions, Used},
    pump::{self, Pump},
    scan::Mark,
    tally::{Phase, Shared, Times},
};
use crate::cli::output;
use anyhow::{Context as _, bail};
use axum::{
    Router,
    extract::{WebSocketUpgrade, ws::WebSocket},
    routing::any,
    serve::ListenerExt as _,
};
use std::{cell::Cell, io::Read as _, net::Ipv4Addr, rc::Rc, time::Duration};

/// How long echoes may take to come back when nothing more is sent.
const SETTLE: Duration = Duration::from_secs(10);

/// The hidden command that the echo server is: serves until its standard input ends.
///
/// # Errors
/// When there is no address to be had.
pub(in crate::cli) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    std::thread::Builder::new().name("parent".into()).spawn(|| {
        // The parent writes nothing: this ends when the parent does.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    })?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        output::line(&listener.local_addr()?.to_string())?;
        let listener = listener.tap_io(|socket| {
            // Without it echoes wait for each other, and that is measured instead.
            let _ = socket.set_nodelay(true);
        });
        let routes = Router::new()
            .route("/", any(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(echo) }));
        Ok(axum::serve(listener, routes).await?)
    })
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Echoes that came back while measuring.
    pub(super) returned: u64,
    /// There and back.
    pub(super) round_trip: Times,
    /// CPU and memory.
    pub(super) used: Used,
}

/// Keeps a window of messages on their way.
struct Caller {
    shared: Rc<Shared>,
    number: u64,
    window: u64,
    size: usize,
    sent: u64,
    returned: u64,
    /// Under way of all callers.
    open: Rc<Cell<u64>>,
}

impl Peer for Caller {
    fn take(&mut self, message: &[u8], now: u64) -> anyhow::Result<()> {
        match Mark::read(message) {
            Some(mark) if mark.pair == self.number && mark.seq == self.returned => {
                self.returned += 1;
                self.open.set(self.open.get() - 1);
                self.shared.deliver(mark.sent, now);
                Ok(())
            }
            _ => bail!("an echo server sent something else"),
        }
    }

    fn put(&mut self, now: u64, out: &mut Vec<u8>) -> bool {
        if !self.shared.phase().is_load() || self.sent - self.returned >= self.window {
            return false;
        }
        Mark { pair: self.number, seq: self.sent, sent: now }.write(out, self.size);
        self.sent += 1;
        self.open.set(self.open.get() + 1);
        true
    }

    fn deadline(&self) -> u64 {
        86_400_000_000_000 * 365
    }

    fn is_live(&self) -> bool {
        true
    }

    fn waits(&self) -> bool {
        self.shared.phase() == Phase::Opening
    }
}

/// Loads the echo server `server`.
///
/// # Errors
/// When sessions cannot be opened, do not last, or get back something else.
pub(super) async fn run(load: &Load, server: &Child) -> anyhow::Result<Outcome> {
    let mut sessions = Sessions::new()?;
    let shared = sessions.shared.clone();
    let (open, address) = (Rc::new(Cell::new(0)), server.address);
    for number in 0..load.pairs {
        let caller = Caller {
            shared: shared.clone(),
            number: number as u64,
            window: load.window as u64,
            size: load.size,
            sent: 0,
            returned: 0,
            open: open.clone(),
        };
        let shared = shared.clone();
        sessions.start(async move {
            let stream = pump::connect(address, number).await?;
            let stream = pump::upgrade(stream, "echo", "/").await?;
            let mut pump = Pump::new(stream, &shared, caller);
            shared.live.set(shared.live.get() + 1);
            pump.run().await
        });
    }
    sessions.all_live(load.pairs).await?;
    shared.enter(Phase::Warming);
    sessions.watch(load.warmup).await?;
    let used = load::measured(&mut sessions, load.measure, std::slice::from_ref(server)).await?;
    if !sessions.until(SETTLE, || open.get() == 0).await? {
        bail!("{} echoes never came back", open.get());
    }
    let round_trip = Times::of(&shared.end_to_end.borrow());
    Ok(Outcome { returned: shared.delivered.get(), round_trip, used })
}
