//! One live link: its queues and the tasks that move frames.
//!
//! A writer and a reader a lane. A writer takes all that waits and writes it together; a reader hands on what came
//! together. The link ends with the first of its tasks: a link is whole or it is not there.

use super::{
    event::{Event, PeerInfo},
    failure::{Failure, Why},
    hello::{GOSSIP, MAGIC, PREAMBLE, preamble},
    lanes::{FrameReader, Lane, pack},
    queue::{LaneQueue, SendError},
    shared::Shared,
    swim::{MAX_PACKET, SwimInput},
};
use bytes::{Bytes, BytesMut};
use quinn::{Connection, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Frames that a writer takes at once.
const BATCH: usize = 256;
/// Pieces of a stream that a reader takes at once; each is what one datagram brought.
const CHUNKS: usize = 32;
/// From the end of a lane to the end of its connection.
const LAST_WORD: Duration = Duration::from_millis(500);
/// From a stream's opening until its first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(5);

/// A link.
pub(super) struct Link {
    pub(super) peer: PeerInfo,
    /// Given when it takes its place in the table.
    pub(super) generation: OnceLock<u64>,
    pub(super) born: Instant,
    pub(super) connection: Connection,
    /// Why the owner wanted it ended.
    verdict: OnceLock<String>,
    /// Wall time at which it came up, in microseconds since 1970.
    pub(super) since: u64,
    pub(super) lanes: [LaneQueue; Lane::ALL.len()],
    /// Cancelled by a link that takes this one's place.
    pub(super) replaced: CancellationToken,
    /// Cancelled when the owner has been told of the end.
    pub(super) ended: CancellationToken,
}

/// The receiving ends of the queues, in the order of the lanes.
pub(super) type Queues = Vec<mpsc::Receiver<Bytes>>;

impl Link {
    pub(super) fn new(shared: &Shared, peer: PeerInfo, connection: Connection) -> (Arc<Self>, Queues) {
        let (frames, max_bytes) = shared.lane;
        let mut queues = Vec::with_capacity(Lane::ALL.len());
        let lanes = Lane::ALL.map(|_| {
            let (queue, waiting) = mpsc::channel(frames);
            queues.push(waiting);
            LaneQueue::new(queue, max_bytes)
        });
        let link = Self {
            peer,
            generation: OnceLock::new(),
            born: Instant::now(),
            connection,
            verdict: OnceLock::new(),
            since: shared.clock.now(),
            lanes,
            replaced: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        (Arc::new(link), queues)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.get().copied().unwrap_or_default()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Ends the link: what came over it makes no sense to the owner.
    pub(super) fn break_off(&self, why: &str) {
        let (code, reason) = Why::Broken(self.verdict.get_or_init(|| why.to_owned()).clone()).close();
        self.connection.close(code, reason.as_bytes());
    }

    /// Queues a frame; never waits.
    pub(super) fn send(&self, shared: &Shared, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        let (len, max) = (frame.len(), lane.max_frame());
        if len > max {
            return Err(SendError::TooLong { len, max });
        }
        self.lanes[lane as usize].put(frame).inspect_err(|error| {
            if *error == SendError::Full {
                shared.metrics.mesh_full.get(lane.name()).inc();
            }
        })
    }

    /// Runs the link to its end.
    ///
    /// * `control`: the streams on which the first words were said.
    /// * `before`: the link whose place it takes; its end is told first.
    pub(super) async fn run(
        self: Arc<Self>,
        shared: Arc<Shared>,
        queues: Queues,
        control: (SendStream, RecvStream),
        before: Option<Arc<Self>>,
    ) {
        let peer = &self.peer.member;
        // However this task ends, whoever takes the place must not wait for ever.
        let _ended = self.ended.clone().drop_guard();
        if let Some(before) = before {
            before.replaced.cancel();
            before.ended.cancelled().await;
        }
        shared.fine(&peer.name);
        shared.metrics.mesh_links.inc();
        let address = self.connection.remote_address();
        info!(peer = %peer.name, %address, version = self.peer.version, "link up");
        let up = Event::LinkUp { peer: self.peer.clone(), generation: self.generation() };
        let told = shared.events.send(up).await.is_ok()
            && shared.swim.send(SwimInput::LinkUp(peer.clone())).await.is_ok();
        let why = if told {
            self.work(&shared, queues, control).await
        } else {
            self.connection.close(Why::Stopped.close().0, b"");
            Why::Stopped
        };
        if matches!(why, Why::Closed(_)) {
            shared.links.note_end(&self);
        }
        shared.links.remove(&self);
        shared.metrics.mesh_links.dec();
        shared.metrics.mesh_links_ended.get(why.label()).inc();
        match why {
            Why::Broken(_) => warn!(peer = %peer.name, "link down: {why}"),
            _ => info!(peer = %peer.name, "link down: {why}"),
        }
        let left = why == Why::Left;
        let _ = shared.swim.send(SwimInput::LinkDown { node: peer.node, left }).await;
        let down = Event::LinkDown { peer: peer.node, generation: self.generation(), why };
        // There may be no owner any more, and then there is nobody to tell.
        let _ = shared.events.send(down).await;
        shared.wake.notify_one();
    }

    /// Moves frames until something ends the link.
    async fn work(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        queues: Queues,
        (control_out, control_in): (SendStream, RecvStream),
    ) -> Why {
        let mut tasks = JoinSet::new();
        let mut control_out = Some(control_out);
        for (lane, queue) in Lane::ALL.into_iter().zip(queues) {
            let stream = control_out.take();
            tasks.spawn(write(self.clone(), shared.clone(), lane, queue, stream));
        }
        tasks.spawn(read(self.clone(), shared.clone(), Lane::Control, control_in));
        tasks.spawn(accept(self.clone(), shared.clone()));
        tasks.spawn(datagrams(self.clone(), shared.clone()));
        let why = tokio::select! {
            () = self.replaced.cancelled() => Why::Replaced,
            closed = self.connection.closed() => closed.into(),
            ended = tasks.join_next() => match ended {
                Some(Ok(why)) => why,
                // A panic is a mistake of this program; it ends this link and no other.
                _ => Why::Closed("a task of the link broke off".into()),
            },
        };
        // What the tasks saw is an echo of the connection's end.
        let why = match (why, self.connection.close_reason()) {
            (why @ (Why::Broken(_) | Why::Replaced), _) | (why, None) => why,
            (_, Some(closed)) => closed.into(),
        };
        let why = self.verdict.get().cloned().map_or(why, Why::Broken);
        // Before the tasks let go of their streams, which would look like the end of a lane.
        let (code, reason) = why.close();
        self.connection.close(code, reason.as_bytes());
        tasks.shutdown().await;
        why
    }

    /// Sends a message of the failure detector; it may be lost.
    pub(super) fn gossip(self: &Arc<Self>, message: Bytes, tasks: &mut JoinSet<()>) {
        if self.connection.max_datagram_size().is_some_and(|max| message.len() <= max) {
            if let Err(error) = self.connection.send_datagram(message) {
                debug!(peer = %self.peer.member.name, "a datagram was not sent: {error}");
            }
            return;
        }
        let link = self.clone();
        tasks.spawn(async move {
            let sent = async {
                let mut stream = link.connection.open_uni().await?;
                stream.set_priority(Lane::Control.priority() + 1)?;
                let mut begin = MAGIC.to_vec();
                begin.push(GOSSIP);
                stream.write_all(&begin).await?;
                stream.write_all(&message).await?;
                stream.finish()?;
                stream.stopped().await.map(drop).map_err(Lost::from)
            };
            // What takes longer is of no use to the detector any more.
            let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
        });
    }
}

/// Errors of the several steps of sending are all one: the message is lost.
#[derive(Debug)]
struct Lost;

impl<E: std::error::Error> From<E> for Lost {
    fn from(_: E) -> Self {
        Self
    }
}

/// Writes what is queued on a lane.
///
/// * `stream`: the lane's stream where it is open already.
async fn write(
    link: Arc<Link>,
    shared: Arc<Shared>,
    lane: Lane,
    mut queue: mpsc::Receiver<Bytes>,
    stream: Option<SendStream>,
) -> Why {
    let failed = |error: WriteError| match error {
        WriteError::ConnectionLost(error) => error.into(),
        other => Why::Broken(format!("lane {lane}: {other}")),
    };
    let mut stream = match stream {
        Some(stream) => stream,
        None => match link.connection.open_uni().await {
            Ok(mut stream) => {
                let mut begin = MAGIC.to_vec();
                begin.push(lane.number());
                if let Err(error) = stream.write_all(&begin).await {
                    return failed(error);
                }
                stream
            }
            Err(error) => return error.into(),
        },
    };
    let _ = stream.set_priority(lane.priority());
    let counts = &link.lanes[lane as usize];
    let metrics =
        (shared.metrics.mesh_frames_out.get(lane.name()), shared.metrics.mesh_bytes_out.get(lane.name()));
    let (mut frames, mut buffer, mut chunks) = (Vec::with_capacity(BATCH), BytesMut::new(), Vec::new());
    while queue.recv_many(&mut frames, BATCH).await > 0 {
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let taken = pack(rest, &mut buffer, &mut chunks);
            let bytes: usize = rest[..taken].iter().map(Bytes::len).sum();
            if let Err(error) = stream.write_all_chunks(&mut chunks).await {
                return failed(error);
            }
            chunks.clear();
            counts.written(taken, bytes);
            metrics.0.add(taken as u64);
            metrics.1.add(bytes as u64);
            rest = &rest[taken..];
        }
        frames.clear();
    }
    Why::Stopped
}

/// Hands on the frames of a lane.
async fn read(link: Arc<Link>, shared: Arc<Shared>, lane: Lane, mut stream: RecvStream) -> Why {
    let counts = &link.lanes[lane as usize];
    let metrics =
        (shared.metrics.mesh_frames_in.get(lane.name()), shared.metrics.mesh_bytes_in.get(lane.name()));
    let mut reader = FrameReader::new(lane.max_frame());
    let mut chunks = vec![Bytes::new(); CHUNKS];
    loop {
        let count = match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => count,
            Ok(None) => {
                // A peer whose tasks end lets go of its streams just before the connection.
                let closed = tokio::time::timeout(LAST_WORD, link.connection.closed()).await;
                return closed.map_or_else(|_| Why::Broken(format!("lane {lane} ended")), Why::from);
            }
            Err(ReadError::ConnectionLost(error)) => return error.into(),
            Err(error) => return Why::Broken(format!("lane {lane}: {error}")),
        };
        let mut frames = Vec::new();
        for chunk in &mut chunks[..count] {
            if let Err(error) = reader.take(std::mem::take(chunk), &mut frames) {
                return Why::Broken(format!("lane {lane}: {error}"));
            }
        }
        if frames.is_empty() {
            continue;
        }
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        counts.received_frames.fetch_add(frames.len() as u64, Relaxed);
        counts.received_bytes.fetch_add(bytes as u64, Relaxed);
        metrics.0.add(frames.len() as u64);
        metrics.1.add(bytes as u64);
        let event =
            Event::Frames { peer: link.peer.member.node, generation: link.generation(), lane, frames };
        if shared.events.send(event).await.is_err() {
            return Why::Stopped;
        }
    }
}

/// Takes the streams that the peer opens.
async fn accept(link: Arc<Link>, shared: Arc<Shared>) -> Why {
    let seen = Arc::new(AtomicUsize::new(1 << Lane::Control.number()));
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(stream) => {
                    streams.spawn(opened(link.clone(), shared.clone(), seen.clone(), stream));
                }
                Err(error) => return error.into(),
            },
            Some(ended) = streams.join_next() => match ended {
                Ok(None) => {}
                Ok(Some(why)) => return why,
                Err(_) => return Why::Closed("a task of the link broke off".into()),
            },
        }
    }
}

/// Finds out what a stream is, and reads it to its end. `None` when it ended as it should.
async fn opened(
    link: Arc<Link>,
    shared: Arc<Shared>,
    seen: Arc<AtomicUsize>,
    mut stream: RecvStream,
) -> Option<Why> {
    let first = tokio::time::timeout(FIRST_BYTES, first_bytes(&mut stream)).await;
    let number = match first.unwrap_or(Err(Failure::Slow)) {
        Ok(number) => number,
        Err(why) => return Some(Why::Broken(why.to_string())),
    };
    if number == GOSSIP {
        // A lost one is nothing new to the detector.
        let message = tokio::time::timeout(FIRST_BYTES, stream.read_to_end(MAX_PACKET)).await.ok()?.ok()?;
        heard(&link, &shared, message.into());
        return None;
    }
    let Some(lane) = Lane::of(number) else {
        return Some(Why::Broken(format!("no lane {number}")));
    };
    let bit = 1 << number;
    if seen.fetch_or(bit, Relaxed) & bit != 0 {
        return Some(Why::Broken(format!("lane {lane} opened twice")));
    }
    Some(read(link, shared, lane, stream).await)
}

/// Reads what every stream begins with.
pub(super) async fn first_bytes(stream: &mut RecvStream) -> Result<u8, Failure> {
    let mut first = [0; PREAMBLE];
    stream.read_exact(&mut first).await.map_err(cut_short)?;
    preamble(first)
}

/// A stream or its connection ended too early.
pub(super) fn cut_short(error: ReadExactError) -> Failure {
    match error {
        ReadExactError::ReadError(ReadError::ConnectionLost(error)) => error.into(),
        _ => Failure::Garbage("a stream that is cut short"),
    }
}

/// Takes the peer's datagrams.
async fn datagrams(link: Arc<Link>, shared: Arc<Shared>) -> Why {
    loop {
        match link.connection.read_datagram().await {
            Ok(message) => heard(&link, &shared, message),
            Err(error) => return error.into(),
        }
    }
}

/// Passes a message on to the failure detector, which may miss one.
fn heard(link: &Link, shared: &Shared, message: Bytes) {
    if shared.swim.try_send(SwimInput::Message { from: link.peer.member.node, message }).is_err() {
        shared.metrics.mesh_gossip_bad.get("queue_full").inc();
    }
}
