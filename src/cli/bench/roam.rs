//! A session that goes on at another server when its own goes away, as the SDK's does.

use super::{
    client::Client,
    load::{Target, Who},
    pump::{self, Pump},
    tally::Shared,
};
use anyhow::Context as _;
use std::{rc::Rc, time::Duration};
use tokio::{sync::SemaphorePermit, time::Instant};

/// How long a client looks for a server that takes it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause after one that does not.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs `client` for good.
///
/// * `turn`: given back once it is live for the first time.
///
/// # Errors
/// Always: why no server takes it any more.
pub(super) async fn run(
    target: &Target,
    who: Who,
    shared: &Rc<Shared>,
    mut client: Client,
    turn: SemaphorePermit<'_>,
) -> anyhow::Result<()> {
    let mut turn = Some(turn);
    let mut at = who.at;
    let mut place = target.place(at)?;
    let mut last_live = Instant::now();
    loop {
        let connected = async {
            let stream = pump::connect(place.address, who.index).await?;
            pump::upgrade(stream, &place.host, "/v1/ws").await
        };
        let error = match connected.await {
            Err(error) => error,
            Ok(stream) => {
                let mut pump = Pump::new(stream, shared, client);
                let mut ended = pump.ready().await;
                if ended.is_ok() {
                    drop(turn.take());
                    ended = pump.run().await;
                    last_live = Instant::now();
                }
                client = pump.into_peer();
                client.leave();
                let Err(error) = ended else { continue };
                error
            }
        };
        if last_live.elapsed() > PATIENCE {
            return Err(error).with_context(|| format!("no server for {} s", PATIENCE.as_secs()));
        }
        if let Some(named) = client.goes_to().and_then(|url| target.named(&url)) {
            place = named;
        } else {
            tokio::time::sleep(PAUSE).await;
            at += 1;
            place = target.place(at)?;
        }
    }
}
