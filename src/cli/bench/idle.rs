//! What a session costs that says nothing.

use super::{
    child::Child,
    client::Part,
    load::{Opener, Sessions, Target, Transport, Who},
    probe,
};
use std::time::Duration;

/// Sessions that are there before memory is first looked at, so that what every server needs once is not counted.
const BEFORE: usize = 32;
/// How long memory may take to come to rest.
const REST: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Sessions counted.
    pub(super) sessions: usize,
    /// Resident memory before, in KiB.
    pub(super) before: u64,
    /// Resident memory with them, in KiB.
    pub(super) after: u64,
    /// Resident memory of this process, in KiB.
    pub(super) own: u64,
    /// Seconds that opening them took.
    pub(super) seconds: f64,
}

impl Outcome {
    /// KiB of one session.
    pub(super) fn each(&self) -> f64 {
        (self.after as f64 - self.before as f64) / self.sessions.max(1) as f64
    }
}

/// Opens `count` sessions and looks at the server's memory before and after.
///
/// # Errors
/// When they cannot be opened or do not last.
pub(super) async fn run(count: usize, target: &Target, server: &Child) -> anyhow::Result<Outcome> {
    let mut sessions = Sessions::new()?;
    let opener = Opener::new(target, false);
    let start = |sessions: &mut Sessions, number: usize| {
        let who = Who { what: "i", number, index: number, at: 0 };
        let shared = sessions.shared.clone();
        sessions.start(opener.clone().session(shared, Part::Idle, Transport::Ws, who));
    };
    (0..BEFORE).for_each(|number| start(&mut sessions, number));
    sessions.all_live(BEFORE).await?;
    let before = at_rest(&mut sessions, server).await?;
    let began = std::time::Instant::now();
    (BEFORE..BEFORE + count).for_each(|number| start(&mut sessions, number));
    sessions.all_live(BEFORE + count).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = at_rest(&mut sessions, server).await?;
    let own = probe::resident_kib(std::process::id())?;
    Ok(Outcome { sessions: count, before, after, own, seconds })
}

/// Resident memory in KiB once it moves by less than one part in 500 for three looks, or when the time is over.
async fn at_rest(sessions: &mut Sessions, server: &Child) -> anyhow::Result<u64> {
    let mut last = probe::resident_kib(server.pid())?;
    let mut still = 0;
    for _ in 0..REST.as_secs() / LOOK.as_secs() {
        sessions.watch(LOOK).await?;
        let now = probe::resident_kib(server.pid())?;
        still = if now.abs_diff(last) <= last / 500 { still + 1 } else { 0 };
        last = now;
        if still == 3 {
            break;
        }
    }
    Ok(last)
}
